"""One bit per leaf with a running count: how many set bits lie before any place, in constant time.

Every trie node covers one contiguous run of leaves, so a node is alive under a filter exactly where
rank(end) > rank(start).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ONE = np.uint64(1)
_LOW_SIX = np.uint64(63)


class RankBits:
    """Immutable bitmap over `size` leaves."""

    __slots__ = ("before", "size", "words")

    def __init__(self, words: NDArray[np.uint64], size: int) -> None:
        """`words` uint64 [size // 64 + 1], bits past `size` clear."""
        self.words, self.size = words, size
        self.before = np.zeros(len(words), np.int64)  # set bits in all earlier words
        np.cumsum(np.bitwise_count(words[:-1]), out=self.before[1:])

    @classmethod
    def full(cls, size: int) -> RankBits:
        words = np.full(size // 64 + 1, ~np.uint64(0))
        words[-1] = (_ONE << np.uint64(size % 64)) - _ONE
        return cls(words, size)

    @classmethod
    def of(cls, places: NDArray[np.integer], size: int) -> RankBits:
        """Only `places` set."""
        words = np.zeros(size // 64 + 1, np.uint64)
        _scatter(np.bitwise_or, words, places)
        return cls(words, size)

    def without(self, places: NDArray[np.integer]) -> RankBits:
        words = self.words.copy()
        cleared = np.zeros_like(words)
        _scatter(np.bitwise_or, cleared, places)
        words &= ~cleared
        return RankBits(words, self.size)

    def __and__(self, other: RankBits) -> RankBits:
        return RankBits(self.words & other.words, self.size)

    @property
    def count(self) -> int:
        return int(self.before[-1]) + int(np.bitwise_count(self.words[-1]))

    def rank(self, places: NDArray[np.integer]) -> NDArray[np.int64]:
        """Set bits before each place, places in 0..size: int64 [n]."""
        places = places.astype(np.uint64)
        word = places >> np.uint64(6)
        below = (_ONE << (places & _LOW_SIX)) - _ONE
        ranks: NDArray[np.int64] = self.before[word] + np.bitwise_count(self.words[word] & below)
        return ranks

    def test(self, places: NDArray[np.integer]) -> NDArray[np.bool_]:
        places = places.astype(np.uint64)
        bits: NDArray[np.bool_] = (self.words[places >> np.uint64(6)] >> (places & _LOW_SIX)) & _ONE != 0
        return bits

    def places(self) -> NDArray[np.int64]:
        """The set places, ascending."""
        bits = np.unpackbits(self.words.astype("<u8").view(np.uint8), bitorder="little")
        return np.flatnonzero(bits)


def _scatter(operation: np.ufunc, words: NDArray[np.uint64], places: NDArray[np.integer]) -> None:
    places = places.astype(np.uint64)
    operation.at(words, places >> np.uint64(6), _ONE << (places & _LOW_SIX))
