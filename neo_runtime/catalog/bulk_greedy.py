"""The loop that gives items without a place the nearest free tuple, one after the other.

It runs as it stands where numba does not know this Python, and compiled, some hundred times as fast, everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from neo_runtime.trie.levels import kernel

ROBBED = -1  # in `since`: the path has been taken from who came first on it
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@cache
def compiled() -> Callable[..., tuple[int, int]]:
    """`take_nearest_free`, as fast as it gets here."""
    return take_nearest_free if kernel() is None else kernel().compiled(take_nearest_free)


def take_nearest_free(
    paths: Any, since: Any, numbers: Any, tuples: Any, at: int, before: int, prefix_mask: Any, taken: Any, shift: Any,
    sids: Any, robbed: Any,
) -> tuple[int, int]:  # fmt: skip
    """Items from `at` on, by their ascending `numbers`; returns where it stopped, and how many paths were `robbed`.

    It stops where all is done, at an item whose number is not below `before` or that of an owner robbed here (who has
    to be placed first), and at an item that none of its `tuples` is free for. These (uint64 [items, some], the nearest
    first) differ in the last code only. Somebody comes on `paths` (ascending) `since` that number. `taken`: a hash
    table of the other tuples, paths[0] where a slot is free.
    """
    count, nothing, slots = 0, paths[0], len(taken)
    while at < len(numbers) and numbers[at] < before:
        prefix = tuples[at, 0] & prefix_mask
        begin: Any = 0
        end: Any = len(paths)
        while begin < end:
            middle = (begin + end) >> 1
            if paths[middle] < prefix:
                begin = middle + 1
            else:
                end = middle
        found = False
        for column in range(tuples.shape[1]):
            key = tuples[at, column]
            low, high = begin, min(begin + np.int64(key - prefix) + 1, len(paths))
            while low < high:
                middle = (low + high) >> 1
                if paths[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low < len(paths) and paths[low] == key:
                found = since[low] > numbers[at]
                if found:
                    before = min(before, since[low])
                    since[low] = ROBBED
                    robbed[count] = low
                    count += 1
            else:
                slot = np.int64((key * _SPREAD) >> shift)
                while taken[slot] != nothing and taken[slot] != key:
                    slot = (slot + 1) % slots
                found = taken[slot] == nothing
                taken[slot] = key
            if found:
                sids[at] = key
                break
        if not found:
            break
        at += 1
    return at, count
