"""TypeView: one item type at one generation: a large base segment, the base rows that died or changed since it was
built, and a small delta with what replaced them. A leaf is live in exactly one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.dead import Dead
from neo_runtime.trie.delta import Changes, Delta, runs
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.rows import PackedRows
from neo_runtime.trie.segment import Segment


@dataclass(frozen=True, slots=True, eq=False)
class TypeView:
    """Immutable."""

    base: Segment
    dead: Dead
    delta: Delta

    @classmethod
    def of_base(cls, base: Segment, named: Iterable[Predicate] = ()) -> TypeView:
        """`named` predicates are followed from change to change."""
        return cls(base, Dead.none(base), Delta.empty(base.space, named))

    @classmethod
    def empty(cls, space: SidSpace, named: Iterable[Predicate] = ()) -> TypeView:
        return cls.of_base(Segment.empty(space), named)

    @property
    def space(self) -> SidSpace:
        return self.base.space

    def __len__(self) -> int:
        """Live leaves, that is distinct SIDs."""
        return len(self.base) - len(self.dead.leaves) + len(self.delta)

    def apply(self, changes: Changes) -> TypeView:
        """The view after `changes`; self stays as it is."""
        if not len(changes.keys):
            return self
        dead = self.dead.adding(self.base, _rows_on(self.base, changes.keys))
        return TypeView(self.base, dead, self.delta.replaced(changes))

    def over(self, base: Segment, touched: Keys) -> TypeView:
        """The same leaves over a newer base; `touched` (ascending) are all that changed after it was built."""
        return TypeView(base, Dead.none(base).adding(base, _rows_on(base, touched)), self.delta.only(touched))

    def compacted(self, named: Iterable[Predicate] = ()) -> Segment:
        """A new base with everything that is live, and bitmaps of the `named` predicates."""
        named = list(named)
        if not self.dead and not len(self.delta) and self.base.filters.prepared.keys() == set(named):
            return self.base
        kept = np.delete(np.arange(len(self.base), dtype=np.int32), self.dead.leaves)
        kept_keys = self.base.keys[kept]
        at = np.searchsorted(kept_keys, self.delta.keys)
        row_at, leaf_rows = at, None
        if self.base.leaf_rows is not None or self.delta.leaf_rows is not None:
            counts, added = _counts(self.base)[kept], _counts(self.delta)
            row_at = np.repeat(np.concatenate([[0], np.cumsum(counts)])[at], added)
            leaf_rows = np.concatenate([[0], np.cumsum(np.insert(counts, at, added))]).astype(np.int32)
            if leaf_rows[-1] == len(leaf_rows) - 1:
                leaf_rows = None
        rows = self.base.rows.spliced(self.dead.rows, PackedRows.of(list(self.delta.rows)), row_at)
        return Segment.build(self.space, np.insert(kept_keys, at, self.delta.keys), leaf_rows, rows, named)

    def items_on(self, key: int) -> tuple[str, ...]:
        """Ids of the items on a packed SID, best first; none where it is not live."""
        place = leaf_of(self.delta.keys, key)
        if place >= 0:
            return tuple(self.delta.row_id(row) for row in rows_of(self.delta, place))
        place = leaf_of(self.base.keys, key)
        if place < 0 or leaf_of(self.dead.leaves, place) >= 0:
            return ()
        return tuple(self.base.row_id(row) for row in rows_of(self.base, place))


def _rows_on(base: Segment, keys: Keys) -> Ints:
    """Every row on those of `keys` (ascending) that the base has."""
    places = base.levels.find(keys)
    leaves, starts = places[places >= 0], base.leaf_rows
    return leaves.astype(np.int32) if starts is None else runs(starts[leaves], starts[leaves + 1])


def rows_of(segment: Segment | Delta, leaf: int) -> range:
    """The rows of a leaf."""
    if segment.leaf_rows is None:
        return range(leaf, leaf + 1)
    return range(int(segment.leaf_rows[leaf]), int(segment.leaf_rows[leaf + 1]))


def leaf_of(ascending: Keys | Ints, value: int) -> int:
    """The place of a value, -1 where it is not there."""
    place = int(np.searchsorted(ascending, ascending.dtype.type(value)))
    return place if place < len(ascending) and int(ascending[place]) == value else -1


def _counts(segment: Segment | Delta) -> Ints:
    return np.ones(len(segment), np.int32) if segment.leaf_rows is None else np.diff(segment.leaf_rows)
