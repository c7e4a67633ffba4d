"""One item type's trie under one request's constraints: the children of live prefixes, exactly, without dead ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.rank import RankBits
from neo_runtime.trie.segment import Ints, Segment
from neo_runtime.trie.type_view import TypeView


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


class LiveTrie:
    """Bits None: every leaf of that segment is allowed. `allowed` None: every item id is."""

    __slots__ = ("allowed", "base_bits", "delta_bits", "denied", "view")

    def __init__(
        self,
        view: TypeView,
        base_bits: RankBits | None,
        delta_bits: RankBits | None,
        allowed: frozenset[str] | None = None,
        denied: frozenset[str] = frozenset(),
    ) -> None:
        self.view, self.base_bits, self.delta_bits = view, base_bits, delta_bits
        self.allowed, self.denied = allowed, denied

    def __len__(self) -> int:
        """Leaves that may be emitted."""
        base = len(self.view.base) if self.base_bits is None else self.base_bits.count
        return base + (len(self.view.delta) if self.delta_bits is None else self.delta_bits.count)

    def permitted(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Those of a leaf's items that the constraints allow."""
        return tuple(i for i in ids if i not in self.denied and (self.allowed is None or i in self.allowed))

    def without_leaves(self, sids: list[int]) -> LiveTrie:
        """The same trie less the leaves of these packed SIDs."""
        keys = np.array(sorted(sids), np.uint64)
        bits = []
        for segment, old in ((self.view.base, self.base_bits), (self.view.delta, self.delta_bits)):
            places = segment.find(keys)
            places = places[places >= 0]
            bits.append((old or RankBits.full(len(segment))).without(places) if len(places) else old)
        return LiveTrie(self.view, bits[0], bits[1], self.allowed, self.denied)

    def root(self) -> Nodes:
        return Nodes(np.zeros(1, np.int32), np.zeros(1, np.int32))

    def children(self, depth: int, nodes: Nodes) -> Children:
        """Live children of prefixes of `depth` codes (0: the root)."""
        base = _expand(self.view.base, self.base_bits, depth, nodes.base)
        if not len(self.view.delta):
            return Children(base[0], base[1], Nodes(base[2], np.full(len(base[2]), -1, np.int32)))
        delta = _expand(self.view.delta, self.delta_bits, depth, nodes.delta)
        return _merge(base, delta, self.view.space.level_sizes[depth])

    def leaf_items(self, nodes: Nodes, row: int) -> tuple[str, ...]:
        """Permitted item ids, best first, of a full tuple."""
        delta, base = int(nodes.delta[row]), int(nodes.base[row])
        ids = self.view.delta.items.ids(delta) if delta >= 0 else self.view.base.items.ids(base)
        return self.permitted(ids)


def _expand(segment: Segment, bits: RankBits | None, depth: int, nodes: Ints) -> tuple[Ints, Ints, Ints]:
    """(parent row, code, child node) of every live child in one segment."""
    rows = np.flatnonzero(nodes >= 0)
    first = segment.first_child[depth]
    starts = first[nodes[rows]]
    counts = first[nodes[rows] + 1] - starts
    ends = np.cumsum(counts)
    child = np.arange(ends[-1] if len(ends) else 0, dtype=np.int32)
    child += np.repeat(starts - (ends - counts), counts).astype(np.int32)
    parent = np.repeat(rows, counts).astype(np.int32)
    if bits is not None:
        if depth == segment.space.levels - 1:
            live = bits.test(child)
        else:
            bounds = segment.leaf_bounds(depth + 1)
            live = bits.rank(bounds[child + 1]) > bits.rank(bounds[child])
        parent, child = parent[live], child[live]
    return parent, segment.codes[depth][child].astype(np.int32), child


def _merge(base: tuple[Ints, Ints, Ints], delta: tuple[Ints, Ints, Ints], size: int) -> Children:
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
