"""What lies on the leaves: rows of item id and facts, packed into arrays for a segment, as values for a small delta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.columns import Columns
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.windows import Window, Windows
from neo_runtime.types import Attribute


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One item on a leaf. `windows` None: nothing was said of when it is available.

    There are many in memory, and none is ever part of a cycle: the garbage collector does not look at them.
    """

    id: str
    attributes: Mapping[str, Attribute] = {}
    windows: tuple[Window, ...] | None = None


Leaf = tuple[Row, ...]
"""The items on one SID, best first; none: the SID is gone."""


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """Text i: UTF-8 in `blob[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    blob: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Ids:
        parts = [text.encode() for text in texts]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(parts), np.uint8))

    def __getitem__(self, i: int) -> str:
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes().decode()

    def spliced(self, kept: Sequence[tuple[int, int]], other: Ids, places: NDArray[np.integer]) -> Ids:
        """The runs `kept` of these texts in order, with text i of `other` before kept text `places[i]` (ascending)."""
        kept_lengths = [np.diff(self.offsets[start : end + 1]) for start, end in kept]
        lengths = np.concatenate(kept_lengths) if kept else np.empty(0, np.int64)
        offsets = np.zeros(len(lengths) + len(places) + 1, np.int64)
        np.cumsum(np.insert(lengths, places, np.diff(other.offsets)), out=offsets[1:])
        blob = np.empty(offsets[-1], np.uint8)
        put, taken, number = 0, 0, 0  # bytes written, kept texts passed, texts of `other` written
        for start, end in kept:
            while start < end:
                if number < len(places) and places[number] == taken:
                    put = _copy(blob, put, other, number, number + 1)
                    number += 1
                    continue
                ahead = int(places[number]) - taken if number < len(places) else end - start
                stop = min(end, start + ahead)
                put = _copy(blob, put, self, start, stop)
                taken += stop - start
                start = stop
        _copy(blob, put, other, number, len(places))
        return Ids(offsets, blob)


def _copy(blob: NDArray[np.uint8], put: int, source: Ids, start: int, end: int) -> int:
    part = source.blob[source.offsets[start] : source.offsets[end]]
    blob[put : put + len(part)] = part
    return put + len(part)


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """n rows in leaf order."""

    ids: Ids
    columns: Columns
    windows: Windows

    @classmethod
    def of(cls, rows: Sequence[Row]) -> PackedRows:
        return cls(
            Ids.of(row.id for row in rows),
            Columns.of(row.attributes for row in rows),
            Windows.of(row.windows for row in rows),
        )

    def __len__(self) -> int:
        return len(self.ids.offsets) - 1

    def row(self, place: int) -> Row:
        return Row(self.ids[place], self.columns.row(place), self.windows.row(place))

    def spliced(self, gone: Ints, other: PackedRows, places: NDArray[np.integer]) -> PackedRows:
        """Less the rows `gone`, with row i of `other` before row `places[i]` of what is left; both ascending."""
        kept = np.delete(np.arange(len(self), dtype=np.int32), gone)
        order = np.insert(np.arange(len(kept), dtype=np.int32), places, len(kept) + np.arange(len(other)))
        edges = np.concatenate([[-1], gone, [len(self)]])
        runs = [(a + 1, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True) if a + 1 < b]
        return PackedRows(
            self.ids.spliced(runs, other.ids, places),
            self.columns.take(kept).concat(other.columns).take(order),
            self.windows.take(kept).concat(other.windows).take(order),
        )
