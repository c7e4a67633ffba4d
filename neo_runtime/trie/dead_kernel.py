"""The compiled loops of `dead`: see `kernel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled
from neo_runtime.trie.prefetch import prefetch
from neo_runtime.trie.search import lower_bound_near

_AHEAD = 32  # nodes whose parents are brought into the cache together
_NEAR = 6  # parents that a guess misses by, mostly


@compiled
def union(old: Any, new: Any, every: Any, fresh: Any) -> Any:
    """Ascending int32 `old` and `new`, each number once, into `every`, and those of `new` alone into `fresh`; returns
    how many are fresh.
    """
    count, place, size = np.uint64(0), np.uint64(0), np.uint64(len(old))  # not below zero: copying is vectorised
    for value in new:
        after = np.uint64(lower_bound_near(old, np.int64(place), len(old), np.int64(place), value))
        for i in range(place, after):
            every[i + count] = old[i]
        place = after
        if place == size or old[place] != value:
            every[place + count] = fresh[count] = value
            count += np.uint64(1)
    for i in range(place, size):
        every[i + count] = old[i]
    return np.int64(count)


@compiled
def emptied(nodes: Any, first: Any, dead: Any, out: Any) -> int:
    """The parents of `nodes` whose whole run of children, [first[p], first[p + 1]), is in `dead`, into `out`; all
    ascending int32. Returns how many there are.
    """
    count, place, parent, parents = 0, 0, 0, len(first) - 1
    last_parent, pace = -1, np.float32(parents) / np.float32(first[parents])
    for begin in range(0, len(nodes), _AHEAD):
        end = min(begin + _AHEAD, len(nodes))
        for i in range(begin, end):  # so that one wait for memory is shared by many
            guess = _guess(nodes[i], parent, first, pace)
            prefetch(first, max(guess - _NEAR, 0))
            prefetch(first, min(guess + _NEAR, parents))
        for i in range(begin, end):
            guess = _guess(nodes[i], parent, first, pace)
            parent = lower_bound_near(first, parent, parents, guess, nodes[i] + 1) - 1
            if parent == last_parent:
                continue
            last_parent = parent
            place = lower_bound_near(dead, place, len(dead), place, first[parent])
            last = place + first[parent + 1] - first[parent] - 1
            if last < len(dead) and dead[last] == first[parent + 1] - 1:
                out[count] = parent
                count += 1
    return count


@compiled
def _guess(node: Any, parent: int, first: Any, pace: Any) -> Any:
    """The parent of a node not before the children of `parent`, at the pace of the whole level."""
    return min(parent + np.int64(np.float32(node - first[parent]) * pace), len(first) - 1)
