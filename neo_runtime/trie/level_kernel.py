"""The compiled loops of `levels`: see `kernel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled
from neo_runtime.trie.prefetch import prefetch
from neo_runtime.trie.search import lower_bound, lower_bound_near

_AHEAD = 32  # keys whose places are brought into the cache together
_FAR = 64  # places that guesses may miss by on average
_TOGETHER = 512  # keys that are looked for in step


@compiled
def find(sorted_keys: Any, keys: Any, leaves: Any) -> None:
    """The place in `sorted_keys` of each of `keys` (uint64 [n]), -1 where it is not there, into `leaves` (int64 [n]).

    Any order is right; ascending keys are found soonest.
    """
    size = len(sorted_keys)
    if not size:
        leaves[:] = -1
        return
    if len(keys) == 1:
        leaves[0] = lower_bound(sorted_keys, 0, size, keys[0])
        _settle(sorted_keys, keys, leaves, 0, 1)
    else:
        _find_in_step(sorted_keys, keys, leaves, _find_by_guess(sorted_keys, keys, leaves))


@compiled
def _settle(sorted_keys: Any, keys: Any, leaves: Any, begin: int, end: int) -> None:
    """Of keys [begin, end): -1 for those not at the first place that is not below them, while it is in the cache."""
    for i in range(begin, end):
        leaf = min(leaves[i], len(sorted_keys) - 1)
        leaves[i] = leaf if sorted_keys[leaf] == keys[i] else -1


@compiled
def _find_by_guess(sorted_keys: Any, keys: Any, leaves: Any) -> int:
    """See `find`, for as many keys as guesses are near; returns how many these are.

    A place is guessed at the pace of the keys before, and once more at what is found there: two lines of the cache for
    most keys, and those that are looked for together wait for them together.
    """
    size = len(sorted_keys)
    place, known, pace = 0, sorted_keys[0], size / (np.float64(sorted_keys[size - 1] - sorted_keys[0]) + 1)
    for begin in range(0, len(keys), _AHEAD):
        end, missed = min(begin + _AHEAD, len(keys)), 0
        for i in range(begin, end):
            leaves[i] = _guess(place, keys[i], known, pace, size)
            prefetch(sorted_keys, leaves[i])
        for i in range(begin, end):
            leaves[i] = _guess(leaves[i], keys[i], sorted_keys[leaves[i]], pace, size)
            prefetch(sorted_keys, leaves[i])
        for i in range(begin, end):
            guess = leaves[i]
            leaves[i] = lower_bound_near(sorted_keys, 0, size, guess, keys[i])
            missed += abs(leaves[i] - guess)
        last = min(leaves[end - 1], size - 1)
        _settle(sorted_keys, keys, leaves, begin, end)
        if missed > _FAR * _AHEAD:
            return end
        if last > place:
            pace = (last - place) / np.float64(sorted_keys[last] - known)
        place, known = last, sorted_keys[last]
    return len(keys)


@compiled
def _guess(place: Any, key: Any, known: Any, pace: Any, size: int) -> Any:
    """The place of a key, from the `known` key at a place."""
    distance = np.float64(key - known) if key > known else -np.float64(known - key)
    return np.int64(min(max(np.float64(place) + distance * pace, np.float64(0)), np.float64(size - 1)))


@compiled
def _find_in_step(sorted_keys: Any, keys: Any, leaves: Any, start: int) -> None:
    """The same for the keys from `start` on, however uneven: by bisection of many at once, between the places of the
    least and the greatest of them, where no step of one waits for another's memory.
    """
    size, low, high = len(sorted_keys), 0, 0
    for begin in range(start, len(keys), _TOGETHER):
        end = min(begin + _TOGETHER, len(keys))
        least, greatest = keys[begin], keys[begin]
        for i in range(begin + 1, end):
            least, greatest = min(least, keys[i]), max(greatest, keys[i])
        span = high - low
        low = lower_bound_near(sorted_keys, 0, size, high, least)
        high = lower_bound_near(sorted_keys, low, size, min(low + span, size), greatest)
        leaves[begin:end] = low
        left = high - low
        while left > 0:
            half = (left + 1) >> 1
            for i in range(begin, end):
                leaves[i] += half * (sorted_keys[leaves[i] + half - 1] < keys[i])
            left -= half
        _settle(sorted_keys, keys, leaves, begin, end)


@compiled
def count_nodes(keys: Any, least: Any) -> int:
    """How many of `keys` (uint64 [n], ascending) differ from the one before by at least `least`, the first included."""
    nodes = 1
    for i in range(1, len(keys)):
        nodes += (keys[i] ^ keys[i - 1]) >= least
    return nodes


@compiled
def fill_level(keys: Any, shift: Any, mask: Any, above: Any, codes: Any, first: Any) -> int:
    """One level: the code of every node, and in `first` where the children of every node of the depth above begin;
    returns the number of nodes. A key that differs from the one before by at least 1 << `shift` begins a node, by at
    least `above` also one of the depth above; at the root's level `above` is 0.

    Without a branch: a node's code is written again by each of its keys, the end of its parent's run by each child.
    """
    least = np.uint64(1) << shift
    node, parent = 0, 0
    codes[0] = (keys[0] >> shift) & mask
    if not above:
        for i in range(1, len(keys)):
            node += (keys[i] ^ keys[i - 1]) >= least
            codes[node] = (keys[i] >> shift) & mask
        first[0], first[1] = 0, node + 1
        return node + 1
    first[0], first[1] = 0, 1
    for i in range(1, len(keys)):
        difference = keys[i] ^ keys[i - 1]
        node += difference >= least
        parent += difference >= above
        codes[node] = (keys[i] >> shift) & mask
        first[parent + 1] = node + 1
    return node + 1


@compiled
def fill_levels(keys: Any, shifts: Any, masks: Any, codes: Any, first: Any, counts: Any) -> None:
    """All levels into rows of `codes` [levels, n] and `first` [levels, n + 1], with the nodes of each in `counts`."""
    above = np.uint64(0)
    for level in range(len(shifts)):
        counts[level] = fill_level(keys, shifts[level], masks[level], above, codes[level], first[level])
        above = np.uint64(1) << shifts[level]
