"""The loop that gives items without a place the nearest free tuple, one after the other.

It runs as it stands where numba does not know this Python, and compiled, some hundred times as fast, everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from neo_runtime.trie.levels import loops

ROBBED = -1  # in `since`: the path has been taken from who came first on it
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@cache
def compiled() -> Callable[..., tuple[int, int]]:
    """`take_nearest_free`, as fast as it gets here."""
    compiling = loops("compiled")
    return take_nearest_free if compiling is None else compiling.compiled(take_nearest_free)


def take_nearest_free(  # noqa: C901 - numba compiles one function
    paths: Any, since: Any, numbers: Any, prefixes: Any, distances: Any, at: int, before: int, taken: Any, shift: Any,
    sids: Any, robbed: Any,
) -> tuple[int, int]:  # fmt: skip
    """Items from `at` on, by their ascending `numbers`; returns where it stopped, and how many paths were `robbed`.

    It stops where all is done, at an item whose number is not below `before` or that of an owner robbed here (who has
    to be placed first), and at an item that nothing is free for. Its tuples are its prefix plus any last code, the
    least of its `distances` (float32 [items, codes], infinite: not this one) the nearest. Somebody comes on `paths`
    (ascending) `since` that number. `taken`: a hash table of the other tuples, paths[0] where a slot is free.
    """
    count, nothing, slots = 0, paths[0], len(taken)
    while at < len(numbers) and numbers[at] < before:
        prefix = prefixes[at]
        begin: Any = 0
        end: Any = len(paths)
        while begin < end:
            middle = (begin + end) >> 1
            if paths[middle] < prefix:
                begin = middle + 1
            else:
                end = middle
        least: Any = np.inf
        nearest, owner, free_slot = prefix, -1, -1
        for code in range(distances.shape[1]):
            if distances[at, code] >= least:
                continue
            key = prefix + np.uint64(code)
            low, high = begin, min(begin + code + 1, len(paths))
            while low < high:
                middle = (low + high) >> 1
                if paths[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low < len(paths) and paths[low] == key:
                if since[low] > numbers[at]:
                    least, nearest, owner, free_slot = distances[at, code], key, low, -1
                continue
            slot: Any = np.int64((key * _SPREAD) >> shift)
            while taken[slot] != nothing and taken[slot] != key:
                slot = (slot + 1) % slots
            if taken[slot] == nothing:
                least, nearest, owner, free_slot = distances[at, code], key, -1, slot
        if owner >= 0:
            before = min(before, since[owner])
            since[owner] = ROBBED
            robbed[count] = owner
            count += 1
        elif free_slot >= 0:
            taken[free_slot] = nearest
        else:
            break
        sids[at] = nearest
        at += 1
    return at, count
