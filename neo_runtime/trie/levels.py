"""Level arrays: the trie over sorted packed SIDs of one item type, without what lies on its leaves.

At depth d a node is a prefix of d codes; its number is its place among all prefixes of that length, in key order.
`codes[d]` holds the last code of every node of depth d + 1, `first_child[d]` where the children of every node of
depth d begin. So the children of a node, and the leaves below it, are one contiguous run.
"""

from __future__ import annotations

from functools import cache, cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace


@cache
def loops(module: str) -> Any:
    """A module of compiled loops, loaded when it is first needed: importing numba takes half a second, which a client
    need not pay. None where numba does not know this Python yet.
    """
    try:
        return import_module(f"neo_runtime.trie.{module}")
    except ImportError:
        return None


def _loops() -> Any:
    return loops("level_kernel")


Ints = NDArray[np.int32]
Codes = tuple[NDArray[np.uint16], ...]
_SMALL = 1 << 16  # keys
_CHUNK = 1 << 16  # keys at once: what is computed of them stays in the cache


class Levels:
    """The trie of `keys`."""

    def __init__(self, space: SidSpace, keys: Keys, codes: Codes, first_child: tuple[Ints, ...]) -> None:
        self.space, self.keys, self.codes, self.first_child = space, keys, codes, first_child

    @classmethod
    def build(cls, space: SidSpace, keys: Keys) -> Levels:
        """`keys` uint64 [n], strictly ascending."""
        build = compiled_arrays if len(keys) and _loops() is not None else numpy_arrays
        return cls(space, keys, *build(space, keys))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.integer], ...]:
        bounds: list[NDArray[np.integer]] = [self.first_child[-1]]
        for children in self.first_child[-2::-1]:
            bounds.append(bounds[-1][children])
        return tuple(bounds[::-1])

    def leaf_bounds(self, depth: int) -> NDArray[np.integer]:
        """Node p of `depth`, above the leaves, covers leaves [bounds[p], bounds[p + 1])."""
        return self._bounds[depth]

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Leaf of every key, -1 where it is not there: int64 [n]. Keys in ascending order are found soonest."""
        return (numpy_find if _loops() is None else compiled_find)(self.keys, keys)

    def find_prefixes(self, depth: int, keys: Keys) -> Ints:
        """Node of every prefix of `depth` codes, at least one, with zeros behind it; -1 where it is not there: [n]."""
        if not len(self):
            return np.full(len(keys), -1, np.int32)
        leaves = np.minimum(self.keys.searchsorted(keys), len(self) - 1)  # the first one below, if any is
        shift = np.uint64(self.space.shifts[depth - 1])
        is_there = self.keys[leaves] >> shift == keys >> shift
        nodes = leaves
        if depth < self.space.levels:
            bounds = self.leaf_bounds(depth)  # looked for as what they are: else all of them are converted
            nodes = bounds.searchsorted(leaves.astype(bounds.dtype), "right") - 1
        return np.where(is_there, nodes, -1).astype(np.int32)

    def nbytes(self) -> int:
        """Bytes of the arrays that a step reads."""
        return sum(array.nbytes for array in self.codes) + sum(array.nbytes for array in self.first_child)


def warm_up() -> None:
    """See `step.warm_up`."""
    keys = np.arange(2, dtype=np.uint64)
    Levels.build(SidSpace((2, 2)), keys).find(keys)


def compiled_find(sorted_keys: Keys, keys: Keys) -> NDArray[np.int64]:
    """See `Levels.find`; through the kernel."""
    leaves = np.empty(len(keys), np.int64)
    _loops().find(sorted_keys, keys, leaves)
    return leaves


def numpy_find(sorted_keys: Keys, keys: Keys) -> NDArray[np.int64]:
    """The same in numpy."""
    places = sorted_keys.searchsorted(keys)
    if not len(sorted_keys):
        return places - 1
    nearest = np.minimum(places, len(sorted_keys) - 1)
    return np.where(sorted_keys[nearest] == keys, places, -1)


def numpy_arrays(space: SidSpace, keys: Keys) -> tuple[Codes, tuple[Ints, ...]]:
    """Codes and first children, chunk by chunk, so that little memory is needed beside the result."""
    levels = space.levels
    codes: list[list[NDArray[np.uint16]]] = [[] for _ in range(levels)]
    first: list[list[Ints]] = [[] for _ in range(levels)]
    counts = [0] * levels  # nodes of every depth from 1 on, before this chunk
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        difference = np.full(len(chunk), ~np.uint64(0))
        np.bitwise_xor(chunk[1:], chunk[:-1], out=difference[1:])
        if start:
            difference[0] = chunk[0] ^ keys[start - 1]
        above = np.flatnonzero(np.arange(len(chunk)) + start == 0)  # the root begins at the first key
        for level, (shift, bits) in enumerate(zip(space.shifts, space.bits, strict=True)):
            is_fresh = difference >= np.uint64(1 << shift)
            numbers = np.cumsum(is_fresh, dtype=np.int32)
            fresh = np.flatnonzero(is_fresh)
            codes[level].append(((chunk[fresh] >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).astype(np.uint16))
            first[level].append(numbers[above] + np.int32(counts[level] - 1))
            counts[level] += len(fresh)
            above = fresh
    for level in range(levels):
        if not len(keys) and not level:
            first[level].append(np.zeros(1, np.int32))  # the root is there even where nothing is below it
        first[level].append(np.array([counts[level]], np.int32))
    none: NDArray[np.uint16] = np.empty(0, np.uint16)
    return tuple(np.concatenate([none, *parts]) for parts in codes), tuple(map(np.concatenate, first))


def compiled_arrays(space: SidSpace, keys: Keys) -> tuple[Codes, tuple[Ints, ...]]:
    """The same through the kernel."""
    return _small_arrays(space, keys) if len(keys) <= _SMALL else _large_arrays(space, keys)


def _small_arrays(space: SidSpace, keys: Keys) -> tuple[Codes, tuple[Ints, ...]]:
    """In one call, into arrays that have room for the most nodes that there can be."""
    levels, n = space.levels, len(keys)
    codes, first = np.empty((levels, n), np.uint16), np.empty((levels, n + 1), np.int32)
    counts = np.empty(levels, np.int64)
    _loops().fill_levels(keys, *_shifts_and_masks(space), codes, first, counts)
    sizes = [1, *counts.tolist()]
    return (
        tuple(codes[level, : sizes[level + 1]] for level in range(levels)),
        tuple(first[level, : sizes[level] + 1] for level in range(levels)),
    )


def _large_arrays(space: SidSpace, keys: Keys) -> tuple[Codes, tuple[Ints, ...]]:
    """Counted first: there is no memory beside the result."""
    codes, first, above = [], [], np.uint64(0)
    for level, (shift, mask) in enumerate(zip(*_shifts_and_masks(space), strict=True)):
        codes.append(np.empty(_loops().count_nodes(keys, np.uint64(1) << shift), np.uint16))
        first.append(np.empty((len(codes[level - 1]) if level else 1) + 1, np.int32))
        _loops().fill_level(keys, shift, mask, above, codes[level], first[level])
        above = np.uint64(1) << shift
    return tuple(codes), tuple(first)


@cache
def _shifts_and_masks(space: SidSpace) -> tuple[Keys, Keys]:
    masks = [(1 << bits) - 1 for bits in space.bits]
    return np.array(space.shifts, np.uint64), np.array(masks, np.uint64)
