"""One bit per row with a running count: how many set bits lie before any place, in constant time.

Every trie node covers one contiguous run of rows, so a node is alive under a filter exactly where
rank(end) > rank(start).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""A bit per row, 64 a word, one word more than full ones; bits past the last row are clear."""

_ONE = np.uint64(1)
_LOW_SIX = np.uint64(63)


class RankBits:
    """Immutable bitmap over `size` rows."""

    __slots__ = ("before", "size", "words")

    def __init__(self, words: Words, size: int) -> None:
        self.words, self.size = words, size
        self.before = np.zeros(len(words), np.uint32)  # set bits in all earlier words
        np.cumsum(np.bitwise_count(words[:-1]), out=self.before[1:])

    @property
    def count(self) -> int:
        return int(self.before[-1]) + int(np.bitwise_count(self.words[-1]))

    def rank(self, places: NDArray[np.integer]) -> NDArray[np.int64]:
        """Set bits before each place, places in 0..size: int64 [n]."""
        places = places.astype(np.uint64)
        word = places >> np.uint64(6)
        below = (_ONE << (places & _LOW_SIX)) - _ONE
        ranks: NDArray[np.int64] = self.before[word].astype(np.int64) + np.bitwise_count(self.words[word] & below)
        return ranks

    def test(self, places: NDArray[np.integer]) -> NDArray[np.bool_]:
        places = places.astype(np.uint64)
        bits: NDArray[np.bool_] = (self.words[places >> np.uint64(6)] >> (places & _LOW_SIX)) & _ONE != 0
        return bits


def packed(rows: NDArray[np.bool_]) -> Words:
    """The bitmap of a mask."""
    bytes_ = np.zeros(8 * (len(rows) // 64 + 1), np.uint8)
    bits = np.packbits(rows, bitorder="little")
    bytes_[: len(bits)] = bits
    return bytes_.view("<u8").astype(np.uint64, copy=False)


def only(places: NDArray[np.integer], size: int) -> Words:
    """`places` alone, of `size` rows."""
    words = np.zeros(size // 64 + 1, np.uint64)
    places = places.astype(np.uint64)
    np.bitwise_or.at(words, places >> np.uint64(6), _ONE << (places & _LOW_SIX))
    return words


def without(words: Words, places: NDArray[np.integer]) -> Words:
    """Less `places`; `words` itself is changed."""
    places = places.astype(np.uint64)
    np.bitwise_and.at(words, places >> np.uint64(6), ~(_ONE << (places & _LOW_SIX)))
    return words


def everything(size: int) -> Words:
    words = np.full(size // 64 + 1, ~np.uint64(0))
    words[-1] = (_ONE << np.uint64(size % 64)) - _ONE
    return words
