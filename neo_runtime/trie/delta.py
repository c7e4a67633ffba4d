"""What was added or changed since a base segment was built: small, and made anew for every batch of changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.levels import Ints, Levels
from neo_runtime.trie.predicate import Predicate, matches
from neo_runtime.trie.rank import Words, packed
from neo_runtime.trie.rows import Leaf, Row
from neo_runtime.trie.windows import Windows

Verdicts = NDArray[np.bool_]
MAX_FOLLOWED = 32  # predicates whose verdicts move on from one delta to the next


class Delta:
    """Immutable, but for the verdicts that it remembers. `rows` holds `Row` values, in leaf order; see Segment."""

    def __init__(
        self, levels: Levels, leaf_rows: Ints | None, rows: NDArray[np.object_], verdicts: dict[Predicate, Verdicts]
    ) -> None:
        self.levels, self.leaf_rows, self.rows, self._verdicts = levels, leaf_rows, rows, verdicts
        self._windows: Windows | None = None

    @classmethod
    def empty(cls, space: SidSpace, named: Iterable[Predicate] = ()) -> Delta:
        """`named` predicates are followed from the start: their bitmaps cost a request nothing."""
        verdicts = {predicate: np.empty(0, bool) for predicate in named}
        return cls(Levels.build(space, np.empty(0, np.uint64)), None, np.empty(0, object), verdicts)

    @property
    def keys(self) -> Keys:
        return self.levels.keys

    def __len__(self) -> int:
        """Leaves."""
        return len(self.levels)

    def row(self, place: int) -> Row:
        row: Row = self.rows[place]
        return row

    def row_id(self, place: int) -> str:
        return self.row(place).id

    def replaced(self, changed: Keys, leaves: Sequence[Leaf]) -> Delta:
        """With leaf i of `changed` (ascending) being `leaves[i]` from now on, gone where that is empty."""
        places = self.levels.find(changed)
        keeps: NDArray[np.bool_] | slice = slice(None)
        if (places >= 0).any():
            keeps = np.ones(len(self), bool)
            keeps[places[places >= 0]] = False
        new_leaves = [leaf for leaf in leaves if leaf]
        if isinstance(keeps, slice) and not new_leaves:
            return self
        keys, counts = self.keys[keeps], None if self.leaf_rows is None else np.diff(self.leaf_rows)
        new_keys = changed if len(new_leaves) == len(leaves) else changed[[bool(leaf) for leaf in leaves]]
        new_rows = [row for leaf in new_leaves for row in leaf]
        at = keys.searchsorted(new_keys)
        keeps_row, row_at, leaf_rows = keeps, at, None
        if counts is not None or len(new_rows) > len(new_leaves):
            counts = np.ones(len(self), np.int32) if counts is None else counts
            new_counts = np.fromiter(map(len, new_leaves), np.int32, len(new_leaves))
            keeps_row = keeps if isinstance(keeps, slice) else np.repeat(keeps, counts)
            row_at = np.repeat(_starts(counts[keeps])[at], new_counts)
            leaf_rows = _starts(np.insert(counts[keeps], at, new_counts))
        verdicts = {
            predicate: _inserted(old[keeps_row], row_at, [matches(predicate, row.attributes) for row in new_rows])
            for predicate, old in list(self._verdicts.items())[-MAX_FOLLOWED:]
        }
        rows = _inserted(self.rows[keeps_row], row_at, _objects(new_rows))
        return Delta(Levels.build(self.levels.space, _inserted(keys, at, new_keys)), leaf_rows, rows, verdicts)

    def words(self, predicate: Predicate) -> Words:
        """Bitmap of the rows that pass."""
        verdicts = self._verdicts.get(predicate)
        if verdicts is None:
            verdicts = np.fromiter((matches(predicate, row.attributes) for row in self.rows), bool, len(self.rows))
            self._verdicts[predicate] = verdicts
        return packed(verdicts)

    def available(self, now_us: int, region: str | None) -> Words | None:
        """Bitmap of the rows that may be shown now; None where nothing was ever said of any."""
        if self._windows is None:
            self._windows = Windows.of(row.windows for row in self.rows)
        if not len(self._windows.fact_rows):
            return None
        return packed(self._windows.available(now_us, region))

    def _leaf_rows(self) -> Ints:
        return np.arange(len(self) + 1, dtype=np.int32) if self.leaf_rows is None else self.leaf_rows


def _inserted(array: NDArray[Any], at: NDArray[np.integer], values: Sequence[object] | NDArray[Any]) -> NDArray[Any]:
    """`np.insert`, which takes long for one value."""
    if len(at) != 1:
        return np.insert(array, at, np.asarray(values, array.dtype)) if len(at) else array
    place = int(at[0])
    return np.concatenate([array[:place], np.asarray(values, array.dtype), array[place:]])


def _starts(counts: NDArray[np.integer]) -> Ints:
    """Where each run begins, and the last one's end."""
    starts = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    return starts


def _objects(rows: Sequence[Row]) -> NDArray[np.object_]:
    """One object each: numpy would take tuples for rows of a matrix."""
    array = np.empty(len(rows), object)
    for place, row in enumerate(rows):
        array[place] = row
    return array
