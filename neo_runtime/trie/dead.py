"""Rows of a segment that do not count, and the nodes left without any: a few sorted numbers instead of bits for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neo_runtime.trie.levels import Ints, loops
from neo_runtime.trie.segment import Segment

_NONE: Ints = np.empty(0, np.int32)


def _loops() -> Any:
    return loops("dead_kernel")


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
        below, fresh = _union(self.rows, rows)
        if not len(fresh):
            return self
        all_rows, nodes = below, list(self.nodes)
        firsts = segment.levels.first_child[1:]
        if segment.leaf_rows is None:
            nodes[-1] = below
        else:
            firsts = (*firsts, segment.leaf_rows)
        for depth in range(len(firsts) - 1, -1, -1):
            fresh = _emptied(fresh, firsts[depth], below)
            if not len(fresh):
                break
            nodes[depth] = below = _union(nodes[depth], fresh)[0]
        return Dead(all_rows, tuple(nodes))


def warm_up() -> None:
    """See `step.warm_up`."""
    numbers = np.arange(2, dtype=np.int32)
    _union(numbers, numbers)
    _emptied(numbers[:1], numbers, numbers)


def _union(old: Ints, new: Ints) -> tuple[Ints, Ints]:
    """Both, and those of `new` that are not in `old`: all ascending, each number once."""
    if not len(old) or not len(new):
        return (old, new) if len(old) else (new, new)
    return numpy_union(old, new) if _loops() is None else compiled_union(old, new)


def compiled_union(old: Ints, new: Ints) -> tuple[Ints, Ints]:
    """See `_union`; through the kernel, in one pass."""
    every, fresh = np.empty(len(old) + len(new), np.int32), np.empty(len(new), np.int32)
    count = _loops().union(old, new, every, fresh)
    return every[: len(old) + count], fresh[:count]


def numpy_union(old: Ints, new: Ints) -> tuple[Ints, Ints]:
    """The same in numpy."""
    places = old.searchsorted(new)
    is_fresh = places == len(old)
    is_fresh[~is_fresh] = old[places[~is_fresh]] != new[~is_fresh]
    return np.insert(old, places[is_fresh], new[is_fresh]), new[is_fresh]


def _emptied(nodes: Ints, first: Ints, dead: Ints) -> Ints:
    """The parents of `nodes` whose whole run of children, [first[p], first[p + 1]), is `dead`. All ascending."""
    return (numpy_emptied if _loops() is None else compiled_emptied)(nodes, first, dead)


def compiled_emptied(nodes: Ints, first: Ints, dead: Ints) -> Ints:
    """See `_emptied`; through the kernel, in one pass."""
    parents = np.empty(len(nodes), np.int32)
    return parents[: _loops().emptied(nodes, first, dead, parents)]


def numpy_emptied(nodes: Ints, first: Ints, dead: Ints) -> Ints:
    """The same in numpy."""
    parents = np.unique(first.searchsorted(nodes, "right").astype(np.int32) - np.int32(1))
    starts, ends = first[parents], first[parents + 1]
    count = np.searchsorted(dead, ends) - np.searchsorted(dead, starts)
    emptied: Ints = parents[count == ends - starts]
    return emptied
