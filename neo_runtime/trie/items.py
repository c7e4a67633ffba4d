"""The item ids on each leaf, best first, packed into two arrays: a view resolves its own SIDs, at any later time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEPARATOR = "\0"  # no id holds control characters


class PackedItems(NamedTuple):
    """Ids of leaf i: `blob[offsets[i]:offsets[i + 1]]`, UTF-8, separated by NUL."""

    offsets: NDArray[np.int64]
    blob: NDArray[np.uint8]

    @classmethod
    def of(cls, lists: Iterable[tuple[str, ...]]) -> PackedItems:
        texts = [_SEPARATOR.join(ids).encode() for ids in lists]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(texts), np.uint8))

    def ids(self, leaf: int) -> tuple[str, ...]:
        text = self.blob[self.offsets[leaf] : self.offsets[leaf + 1]].tobytes().decode()
        return tuple(text.split(_SEPARATOR))

    def take(self, leaves: NDArray[np.integer]) -> PackedItems:
        """The lists of `leaves`, in their order."""
        starts = self.offsets[leaves]
        lengths = self.offsets[np.asarray(leaves) + 1] - starts
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        source = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return PackedItems(offsets, self.blob[source])

    def concat(self, other: PackedItems) -> PackedItems:
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return PackedItems(offsets, np.concatenate([self.blob, other.blob]))
