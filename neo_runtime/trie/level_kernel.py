"""The compiled loops of `levels`: see `kernel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled


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
