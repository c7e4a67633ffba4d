"""The compiled twin of `rank`: see `kernel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled


@compiled
def _ones(word: Any) -> Any:
    """The set bits of a uint64: one instruction, which this is recognised as."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def lowest(word: Any) -> Any:
    """The place of the lowest set bit of a uint64, of which there is one."""
    return _ones((word - np.uint64(1)) & ~word)


@compiled
def rank_before(words: Any, before: Any, place: int) -> Any:
    return np.int64(before[place >> 6]) + _ones(
        words[place >> 6] & ((np.uint64(1) << np.uint64(place & 63)) - np.uint64(1))
    )


@compiled
def has_set_bit(node: int, words: Any, before: Any, bounds: Any) -> Any:
    """Whether any row of a node is allowed; without `bounds` it has one, of its own number."""
    if len(bounds):
        return rank_before(words, before, bounds[node + 1]) > rank_before(words, before, bounds[node])
    return (words[node >> 6] >> np.uint64(node & 63)) & np.uint64(1) != np.uint64(0)
