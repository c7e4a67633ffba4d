"""Catalogs without items' content, and a beam search without a model: what a trie alone is measured with.

`u1024`: 4 levels of 1,024 codes, uniform. `z256`: 4 levels of 256 codes, skewed as a residual quantizer's are: the
first code Zipf(1.0), deeper ones Zipf(0.8) in an order that the codes before decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie import LiveTrie, Nodes, PackedRows, Segment
from neo_runtime.trie.columns import Column, Columns
from neo_runtime.trie.rows import Ids
from neo_runtime.trie.step import step
from neo_runtime.trie.windows import Windows

LEVELS, BEAMS = 4, 30
KINDS = ("u1024", "z256")
Logits = list[NDArray[np.float32]]
"""Of each level: float32 [rows, codes], a row a beam."""


def space_of(kind: str) -> SidSpace:
    return SidSpace((int(kind[1:]),) * LEVELS)


def catalog(kind: str, size: int, seed: int = 0) -> Keys:
    """Packed SIDs, ascending, each once: uint64 [size]."""
    rng, space = np.random.default_rng(seed), space_of(kind)
    draw = _uniform if kind[0] == "u" else _skewed
    keys = np.empty(0, np.uint64)
    while len(keys) < size:
        keys = np.unique(np.concatenate([keys, draw(rng, space, int((size - len(keys)) * 1.2) + 1_000)]))
    return keys[np.sort(rng.permutation(len(keys))[:size])]


def _uniform(rng: np.random.Generator, space: SidSpace, n: int) -> Keys:
    return rng.integers(0, 1 << sum(space.bits), n, dtype=np.uint64)


def _skewed(rng: np.random.Generator, space: SidSpace, n: int) -> Keys:
    codes = space.level_sizes[0]
    keys = _zipf(rng, codes, 1.0, n)
    for _ in range(1, LEVELS):
        turned = (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
        keys = keys << np.uint64(space.bits[0]) | (_zipf(rng, codes, 0.8, n) + turned) % np.uint64(codes)
    return keys


def _zipf(rng: np.random.Generator, codes: int, exponent: float, n: int) -> Keys:
    weights = np.cumsum(1 / np.arange(1, codes + 1) ** exponent)
    return np.minimum(np.searchsorted(weights / weights[-1], rng.random(n)), codes - 1).astype(np.uint64)


def rows(n: int, attributes: Mapping[str, NDArray[np.int64]]) -> PackedRows:
    """Items named by their number in eight digits, with integer attributes and no word on availability."""
    places = 10 ** np.arange(7, -1, -1, dtype=np.int32)
    digits = np.empty((n, len(places)), np.uint8)
    for column, place in enumerate(places):
        digits[:, column] = np.arange(n, dtype=np.int32) // place % 10 + ord("0")
    columns = {(name, "int"): Column(None, values) for name, values in attributes.items()}
    ids = Ids(np.arange(n + 1, dtype=np.int64) * len(places), digits.ravel())
    return PackedRows(ids, Columns(n, columns), replace(Windows.of(()), n=n))  # type: ignore[arg-type]


def segment(kind: str, keys: Keys, attributes: Mapping[str, NDArray[np.int64]]) -> Segment:
    return Segment.build(space_of(kind), keys, None, rows(len(keys), attributes))


def random_logits(rng: np.random.Generator, space: SidSpace, requests: int) -> Logits:
    """What a model would say of `requests` at every level, at most BEAMS beams each."""
    return [
        rng.standard_normal((requests * (BEAMS if level else 1), size), dtype=np.float32)
        for level, size in enumerate(space.level_sizes)
    ]


def decode(trie: LiveTrie, logits: Logits) -> tuple[Keys, NDArray[np.int64]]:
    """Whole beam search of len(logits[0]) requests: packed SIDs, those of a request together, and how many of each."""
    starts = first_starts = np.arange(len(logits[0]) + 1)
    nodes, scores = Nodes(*(np.zeros(len(logits[0]), np.int32) for _ in range(2))), np.zeros(len(logits[0]), np.float32)
    for level, values in enumerate(logits):
        steps = step(trie, level, nodes, values[: len(scores)], scores, BEAMS, starts=starts)
        nodes, scores, counts = steps.nodes, steps.scores.ravel(), steps.counts
        if min(counts.tolist()) == BEAMS:
            starts = BEAMS * first_starts
            continue
        kept = np.flatnonzero((np.arange(BEAMS) < counts[:, None]).ravel())
        nodes, scores, starts = nodes.take(kept), scores[kept], np.concatenate([[0], np.cumsum(counts)])
    return sids(trie, nodes), counts


def sids(trie: LiveTrie, leaves: Nodes) -> Keys:
    """Packed SIDs of leaves."""
    base, delta = trie.view.base.keys, trie.view.delta.keys
    if not len(delta):
        return base[leaves.base]
    if not len(base):
        return delta[leaves.delta]
    return np.where(leaves.base >= 0, base[leaves.base], delta[leaves.delta])
