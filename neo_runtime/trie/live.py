"""One item type's trie under one request's constraints: the children of live prefixes, exactly, without dead ends."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.dead import Dead
from neo_runtime.trie.delta import Delta
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.rank import RankBits, Words, everything, without
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import TypeView, leaf_of, rows_of

_NO_INTS: Ints = np.empty(0, np.int32)
_NO_WORDS = np.empty(0, np.uint64), np.empty(0, np.uint32)


class Nodes(NamedTuple):
    """Prefixes of one depth, by their node in base and delta; -1 where the prefix is not in that segment. int32 [n]."""

    base: Ints
    delta: Ints

    def take(self, rows: NDArray[np.integer]) -> Nodes:
        return Nodes(self.base[rows], self.delta[rows])


class Children(NamedTuple):
    """Live children of n prefixes, by ascending (parent row, code). All int32 [c]."""

    parent: Ints
    code: Ints
    nodes: Nodes


class SideArrays(NamedTuple):
    """One segment at one depth, as the kernel takes it: children, and what is live among them."""

    first_child: Ints
    codes: NDArray[np.uint16]
    dead: Ints
    words: Words
    before: NDArray[np.uint32]
    bounds: NDArray[np.integer]


class Side:
    """A base segment or a delta with the rows that may be emitted: all but `dead`, or those in `bits`."""

    def __init__(self, segment: Segment | Delta, dead: Dead | None, bits: RankBits | None) -> None:
        self.segment, self.dead, self.bits = segment, dead, bits

    @cached_property
    def depths(self) -> tuple[SideArrays, ...]:
        levels = self.segment.levels
        words, before = _NO_WORDS if self.bits is None else (self.bits.words, self.bits.before)
        is_plain = self.bits is not None or self.dead is None
        return tuple(
            SideArrays(
                levels.first_child[depth], levels.codes[depth],
                _NO_INTS if is_plain or self.dead is None else self.dead.nodes[depth],
                words, before, _NO_INTS if self.bits is None else self._row_bounds(depth + 1),
            )
            for depth in range(levels.space.levels)
        )  # fmt: skip

    def _row_bounds(self, depth: int) -> NDArray[np.integer]:
        """Node p of `depth` covers rows [bounds[p], bounds[p + 1]); empty where node p has row p alone."""
        rows = self.segment.leaf_rows
        if depth == self.segment.levels.space.levels:
            return _NO_INTS if rows is None else rows
        leaves = self.segment.levels.leaf_bounds(depth)
        return leaves if rows is None else rows[leaves]

    def has_any(self) -> bool:
        if self.bits is not None:
            return self.bits.count > 0
        return len(self.segment) > (0 if self.dead is None else len(self.dead.leaves))

    def leaves(self) -> int:
        """Leaves with a row that may be emitted."""
        if self.bits is None:
            return len(self.segment) - (0 if self.dead is None else len(self.dead.leaves))
        if self.segment.leaf_rows is None:
            return self.bits.count
        ranks = self.bits.rank(self.segment.leaf_rows)
        return int(np.count_nonzero(ranks[1:] > ranks[:-1]))

    def is_live_row(self, row: int) -> bool:
        if self.bits is not None:
            return bool(self.bits.test(np.array([row]))[0])
        return self.dead is None or leaf_of(self.dead.rows, row) < 0

    def ids(self, leaf: int) -> tuple[str, ...]:
        """Ids of the rows of a leaf that may be emitted, best first."""
        return tuple(self.segment.row_id(row) for row in rows_of(self.segment, leaf) if self.is_live_row(row))

    def expand(self, depth: int, nodes: Ints) -> tuple[Ints, Ints, Ints]:
        """(parent row, code, child node) of every live child."""
        arrays = self.depths[depth]
        rows = np.flatnonzero(nodes >= 0)
        starts = arrays.first_child[nodes[rows]]
        counts = arrays.first_child[nodes[rows] + 1] - starts
        ends = np.cumsum(counts)
        child = np.arange(ends[-1] if len(ends) else 0, dtype=np.int32)
        child += np.repeat(starts - (ends - counts), counts).astype(np.int32)
        parent = np.repeat(rows, counts).astype(np.int32)
        live = self._live(arrays, child)
        if live is not None:
            parent, child = parent[live], child[live]
        return parent, arrays.codes[child].astype(np.int32), child

    def find(self, depth: int, keys: Keys) -> Ints:
        """See LiveTrie."""
        nodes = self.segment.levels.find_prefixes(depth, keys)
        there = np.flatnonzero(nodes >= 0)
        live = self._live(self.depths[depth - 1], nodes[there])
        if live is not None:
            nodes[there[~live]] = -1
        return nodes

    def _live(self, arrays: SideArrays, child: Ints) -> NDArray[np.bool_] | None:
        if self.bits is None:
            return ~np.isin(child, arrays.dead) if len(arrays.dead) else None
        if not len(arrays.bounds):
            return self.bits.test(child)
        return self.bits.rank(arrays.bounds[child + 1]) > self.bits.rank(arrays.bounds[child])


class LiveTrie:
    """See the module."""

    __slots__ = ("base", "delta", "view")

    def __init__(self, view: TypeView, base: Side, delta: Side) -> None:
        self.view, self.base, self.delta = view, base, delta

    @classmethod
    def of(cls, view: TypeView, wanted: Wanted) -> LiveTrie:
        """The rows of a view that are `wanted`. Without a bitmap, the base's few dead rows are listed, not marked."""
        base_places, delta_places = wanted.denied
        base_words = wanted.base_words
        if base_words is None:
            base = Side(view.base, view.dead.adding(view.base, base_places), None)
        else:
            words = without(without(base_words, view.dead.rows), base_places)
            base = Side(view.base, None, RankBits(words, len(view.base.rows)))
        delta_words, size = wanted.delta_words, len(view.delta.rows)
        if delta_words is None and len(delta_places):
            delta_words = everything(size)
        delta_bits = None if delta_words is None else RankBits(without(delta_words, delta_places), size)
        return cls(view, base, Side(view.delta, None, delta_bits))

    @property
    def space(self) -> SidSpace:
        return self.view.space

    def __len__(self) -> int:
        """Leaves that may be emitted."""
        return self.base.leaves() + self.delta.leaves()

    @property
    def is_empty(self) -> bool:
        return not (self.base.has_any() or self.delta.has_any())

    def root(self) -> Nodes:
        return Nodes(np.zeros(1, np.int32), np.zeros(1, np.int32))

    def find(self, depth: int, keys: Keys) -> Nodes:
        """Prefixes of `depth` codes, at least one, by packed keys uint64 [n] with zeros behind the prefix.

        -1 in both segments where no item that may be emitted begins so.
        """
        return Nodes(self.base.find(depth, keys), self.delta.find(depth, keys))

    def children(self, depth: int, nodes: Nodes) -> Children:
        """Live children of prefixes of `depth` codes (0: the root)."""
        base = self.base.expand(depth, nodes.base)
        if not len(self.view.delta):
            return Children(base[0], base[1], Nodes(base[2], np.full(len(base[2]), -1, np.int32)))
        return _union(base, self.delta.expand(depth, nodes.delta), self.space.level_sizes[depth])

    def only_children(self, depth: int, nodes: Nodes) -> Children | None:
        """The live child of every prefix of `depth` codes; None where one has several."""
        if self.base.bits is None and not self.view.dead and not len(self.view.delta):
            first = self.view.base.levels.first_child[depth]
            if (first[nodes.base + 1] - first[nodes.base] > 1).any():
                return None
        live = self.children(depth, nodes)
        return live if len(live.parent) == len(nodes.base) else None

    def leaf_items(self, nodes: Nodes, row: int) -> tuple[str, ...]:
        """Ids of the items of a full tuple that may be emitted, best first; none where it is in neither segment."""
        delta, base = int(nodes.delta[row]), int(nodes.base[row])
        if delta >= 0:
            return self.delta.ids(delta)
        return self.base.ids(base) if base >= 0 else ()


class Wanted(NamedTuple):
    """Rows that a request may emit: bitmaps (None: every row) less listed places, ascending int32, of both segments."""

    base_words: Words | None
    delta_words: Words | None
    denied: tuple[Ints, Ints]


def intersection(bitmaps: Iterable[Words]) -> Words | None:
    """A new bitmap; None of none."""
    result: Words | None = None
    owned = False
    for words in bitmaps:
        if result is None:
            result = words
        elif owned:
            result &= words
        else:
            result, owned = result & words, True
    return result if owned or result is None else result.copy()


def _union(base: tuple[Ints, Ints, Ints], delta: tuple[Ints, Ints, Ints], size: int) -> Children:
    """Union of two sorted child lists; a prefix that is in both keeps both nodes."""
    if not len(delta[0]):
        return Children(base[0], base[1], Nodes(base[2], np.full(len(base[2]), -1, np.int32)))
    base_key = base[0].astype(np.int64) * size + base[1]
    delta_key = delta[0].astype(np.int64) * size + delta[1]
    place = np.searchsorted(base_key, delta_key)
    shared = place < len(base_key)
    shared[shared] = base_key[place[shared]] == delta_key[shared]
    delta_node = np.full(len(base_key), -1, np.int32)
    delta_node[place[shared]] = delta[2][shared]
    fresh = ~shared
    at = place[fresh]
    return Children(
        np.insert(base[0], at, delta[0][fresh]),
        np.insert(base[1], at, delta[1][fresh]),
        Nodes(np.insert(base[2], at, np.int32(-1)), np.insert(delta_node, at, delta[2][fresh])),
    )
