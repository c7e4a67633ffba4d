"""Rows of different lengths in two flat arrays: how histories lie in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]
Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Row i is `values[offsets[i] : offsets[i + 1]]`."""

    values: Indices
    offsets: Offsets

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        return cls._cut(np.array([value for row in rows for value in row], np.int32), [len(row) for row in rows])

    @classmethod
    def _cut(cls, values: Indices, lengths: Sequence[int] | Offsets) -> Ragged:
        return cls(values, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Indices]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Indices:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Offsets:
        return np.diff(self.offsets)

    @property
    def rows(self) -> Offsets:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> Offsets:
        """Of each value, counted from its row's first."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    @property
    def ages(self) -> Offsets:
        """Of each value, counted back from its row's last, which is 0."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.values))

    def keep(self, kept: Mask) -> Ragged:
        """Without the values that are not kept; as many rows, some of them shorter."""
        return self._cut(self.values[kept], np.bincount(self.rows[kept], minlength=len(self)))

    def last(self, count: int) -> Ragged:
        """The last `count` values of each row."""
        return self.keep(self.ages < count)

    def take(self, rows: Offsets) -> Ragged:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        result = self._cut(np.empty(int(lengths.sum()), np.int32), lengths)
        source = np.repeat(self.offsets[:-1][rows], lengths) + result.places
        return Ragged(self.values[source], result.offsets)
