"""The space of semantic IDs of one item type: how many levels, how many codes each, and their packing into 64 bits.

A packed key holds the codes big-endian, so numeric order is the order of the tuples and a prefix is one run of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class SidSpace:
    """`level_sizes[m]` codes at level m. ValueError where a tuple does not fit 64 bits."""

    level_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.level_sizes or not all(2 <= size <= 65_536 for size in self.level_sizes):
            raise ValueError(f"level sizes {self.level_sizes} must be between 2 and 65,536, at least one level")
        if sum(self.bits) > 64:
            raise ValueError(f"level sizes {self.level_sizes} need {sum(self.bits)} bits, over 64")

    @property
    def levels(self) -> int:
        return len(self.level_sizes)

    @cached_property
    def bits(self) -> tuple[int, ...]:
        return tuple((size - 1).bit_length() for size in self.level_sizes)

    @cached_property
    def shifts(self) -> tuple[int, ...]:
        """Bits to the right of each level's code."""
        return tuple(sum(self.bits[level + 1 :]) for level in range(self.levels))

    @cached_property
    def _shifts_and_masks(self) -> tuple[tuple[int, int], ...]:
        return tuple((shift, (1 << bits) - 1) for shift, bits in zip(self.shifts, self.bits, strict=True))

    def pack(self, codes: NDArray[np.integer]) -> Keys:
        """Codes [n, levels] to keys uint64 [n]; of prefixes [n, depth] to keys with zeros behind them."""
        keys = np.zeros(len(codes), np.uint64)
        for level, shift in enumerate(self.shifts[: codes.shape[1]]):
            keys |= codes[:, level].astype(np.uint64) << np.uint64(shift)
        return keys

    def unpack(self, keys: Keys) -> NDArray[np.uint16]:
        """Keys uint64 [n] to codes uint16 [n, levels]."""
        codes = np.empty((len(keys), self.levels), np.uint16)
        for level, (shift, bits) in enumerate(zip(self.shifts, self.bits, strict=True)):
            codes[:, level] = (keys >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        return codes

    def pack_one(self, codes: Sequence[int]) -> int:
        """One full tuple; ValueError where a code is out of range."""
        if len(codes) != self.levels or not all(0 <= c < k for c, k in zip(codes, self.level_sizes, strict=True)):
            raise ValueError(f"{tuple(codes)} is not a tuple of {self.level_sizes}")
        return sum(code << shift for code, shift in zip(codes, self.shifts, strict=True))

    def unpack_one(self, key: int) -> tuple[int, ...]:
        return tuple([(key >> shift) & mask for shift, mask in self._shifts_and_masks])
