"""Distinct texts in ascending order, packed: what a column of texts refers to by number.

UTF-8 keeps the order of code points, so an interval of texts is an interval of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.sparse import mark

_CHUNK_BYTES = 1 << 22  # of texts copied at once: the copy's index arrays are eight times as large
_WORD = 8  # bytes that two texts are compared by at a time

Ids = NDArray[np.int32]


class Texts:
    """Text i is `blob[offsets[i]:offsets[i + 1]]` in UTF-8; uint8 and int64 arrays."""

    __slots__ = ("blob", "offsets")

    def __init__(self, offsets: NDArray[np.int64], blob: NDArray[np.uint8]) -> None:
        self.offsets, self.blob = offsets, blob

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """`texts` distinct and ascending."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _bytes(self, number: int) -> bytes:
        return self.blob[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def __getitem__(self, number: int) -> str:
        return self._bytes(number).decode()

    def place(self, text: str) -> int:
        """How many texts are below this one."""
        wanted, low, high = text.encode(), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, text: str) -> int | None:
        """The text's number."""
        place = self.place(text)
        return place if place < len(self) and self[place] == text else None

    def nbytes(self) -> int:
        return self.offsets.nbytes + self.blob.nbytes

    def used(self, ids: Ids) -> tuple[Texts, Ids]:
        """Without the texts that no id refers to, and the ids among what is left."""
        in_use = mark(len(self), ids)
        if in_use.all():
            return self, ids
        numbers = np.cumsum(in_use, dtype=np.int32) - np.int32(1)
        return self._select(np.flatnonzero(in_use)), numbers[ids]

    def union(self, other: Texts) -> tuple[Texts, Ids, Ids]:
        """Both together, and the numbers that the texts of each have there."""
        if not len(other) or not len(self):
            return self if len(self) else other, _numbers(len(self)), _numbers(len(other))
        joined = self._joined(other)
        order, is_repeat = joined._sorted()
        numbers = np.empty(len(order), np.int32)
        numbers[order] = np.cumsum(~is_repeat, dtype=np.int32) - np.int32(1)
        return joined._select(order[~is_repeat]), numbers[: len(self)], numbers[len(self) :]

    def _joined(self, other: Texts) -> Texts:
        """One after the other, no longer ascending."""
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return Texts(offsets, np.concatenate([self.blob, other.blob]))

    def _select(self, numbers: NDArray[np.intp]) -> Texts:
        starts, ends = self.offsets[numbers], self.offsets[numbers + 1]
        offsets = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        blob = np.empty(offsets[-1], np.uint8)
        first = 0
        while first < len(numbers):
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES, "right")) - 1)
            begin, end = offsets[first], offsets[last]
            shift = np.repeat(starts[first:last] - offsets[first:last], np.diff(offsets[first : last + 1]))
            blob[begin:end] = self.blob[shift + np.arange(begin, end)]
            first = last
        return Texts(offsets, blob)

    def _sorted(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """For two ascending runs: the texts' order, and which ones equal the one before them.

        Compares word by word; only texts that are equal so far, and not over yet, go on to the next word. Texts
        that differ in zero bytes at the end alone are told apart by length.
        """
        lengths = np.diff(self.offsets)
        blob = np.concatenate([self.blob, np.zeros(_WORD, np.uint8)])
        words = np.ndarray(len(self.blob) + 1, ">u8", blob, strides=(1,))  # the word that begins at every byte
        first_words = _words(words, self.offsets[:-1], lengths)
        order = np.argsort(first_words, kind="stable")
        is_tied = np.zeros(len(order), bool)  # with the one before
        is_tied[1:] = first_words[order[1:]] == first_words[order[:-1]]
        places, depth = np.flatnonzero(_members(is_tied)), _WORD
        while len(places):
            entries, tied = order[places], is_tied[places]
            group = np.cumsum(~tied) - 1
            is_over = (np.maximum.reduceat(lengths[entries], np.flatnonzero(~tied)) <= depth)[group]
            word = _words(words, self.offsets[entries] + depth, lengths[entries] - depth)
            word = np.where(is_over, lengths[entries].astype(np.uint64), word)
            sorting = np.lexsort((word, group))
            order[places], word = entries[sorting], word[sorting]
            tied[1:] &= word[1:] == word[:-1]
            is_tied[places] = tied
            places, depth = places[_members(tied & ~is_over)], depth + _WORD
        return order, is_tied


def _numbers(count: int) -> Ids:
    return np.arange(count, dtype=np.int32)


def _words(words: NDArray[np.uint64], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The first eight bytes of each text as a number, zeros where it ends: uint64."""
    missing = np.clip(_WORD - lengths, 0, _WORD)
    shift = (8 * np.minimum(missing, _WORD - 1)).astype(np.uint64)
    found = words[np.minimum(starts, len(words) - 1)].astype(np.uint64) >> shift << shift
    return np.where(missing == _WORD, np.uint64(0), found)


def _members(is_tied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those tied with the one before them, and the one that they are tied with."""
    members = is_tied.copy()
    members[:-1] |= is_tied[1:]
    return members
