"""Rows of a segment that do not count, and the nodes left without any: a few sorted numbers instead of bits for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neo_runtime.trie.levels import Ints
from neo_runtime.trie.segment import Segment

_NONE: Ints = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Dead:
    """Of one segment. `nodes[d]`: nodes of depth d + 1 without a live row. All ascending int32."""

    rows: Ints
    nodes: tuple[Ints, ...]

    @classmethod
    def none(cls, segment: Segment) -> Dead:
        return cls(_NONE, (_NONE,) * segment.space.levels)

    def __bool__(self) -> bool:
        return len(self.rows) > 0

    @property
    def leaves(self) -> Ints:
        return self.nodes[-1]

    def adding(self, segment: Segment, rows: Ints) -> Dead:
        """With more rows, ascending and each once. A node dies when the last thing below it does, level by level."""
        fresh = _missing(self.rows, rows) if len(rows) else rows
        if not len(fresh):
            return self
        all_rows = _merged(self.rows, fresh)
        nodes = list(self.nodes)
        below, runs = all_rows, segment.leaf_rows
        if runs is not None:
            leaves = np.unique(np.searchsorted(runs, fresh, "right").astype(np.int32) - np.int32(1))
            fresh = _emptied(leaves, runs, below)
        nodes[-1] = below = _merged(nodes[-1], fresh)
        for depth in range(segment.space.levels - 1, 0, -1):
            if not len(fresh):
                break
            fresh = _emptied(segment.levels.parents(depth + 1, fresh), segment.levels.first_child[depth], below)
            nodes[depth - 1] = below = _merged(nodes[depth - 1], fresh)
        return Dead(all_rows, tuple(nodes))


def _emptied(parents: Ints, first: Ints, dead_below: Ints) -> Ints:
    """Those of `parents` whose whole run below is dead."""
    starts, ends = first[parents], first[parents + 1]
    count = np.searchsorted(dead_below, ends) - np.searchsorted(dead_below, starts)
    emptied: Ints = parents[count == ends - starts]
    return emptied


def _missing(old: Ints, new: Ints) -> Ints:
    """Those of `new` that are not in `old`."""
    if not len(old):
        return new
    places = np.minimum(np.searchsorted(old, new), len(old) - 1)
    missing: Ints = new[old[places] != new]
    return missing


def _merged(old: Ints, new: Ints) -> Ints:
    """Both, ascending; no number is in both."""
    if not len(old) or not len(new):
        return new if not len(old) else old
    return np.insert(old, np.searchsorted(old, new), new)
