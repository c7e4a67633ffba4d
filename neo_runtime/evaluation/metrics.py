"""HR@K and NDCG@K of ranked lists, for one or several right items a question.

Own numpy rather than ranx: that takes a dict of dicts with text keys, 19 s to fill for the 22 thousand users of Beauty
and 9 s to compile at the first use in every process; the arrays that rankers give are scored here in milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.data.ragged import Indices, Mask, Ragged

CUTS = (5, 10, 30)
DEEPEST = max(CUTS)
NAMES = tuple(f"{name}@{cut}" for cut in CUTS for name in ("HR", "NDCG"))
HITS, MAIN = "HR@10", "NDCG@10"

Values = NDArray[np.float64]


class Hits(NamedTuple):
    """Which places of each list hold a right item, [questions, DEEPEST], and how many right items there are."""

    found: Mask
    relevant: NDArray[np.int64]

    def take(self, kept: NDArray[np.int64] | Mask) -> Hits:
        return Hits(self.found[kept], self.relevant[kept])


def single_hits(items: Indices, targets: Indices) -> Hits:
    """`items` [questions, K], best first, -1 where a list is shorter; one right item each."""
    return Hits(_deep(items == targets[:, None]), np.ones(len(targets), np.int64))


def several_hits(items: Indices, targets: Ragged) -> Hits:
    """Every question has a row of right items, at least one."""
    base = int(max(items.max(initial=0), targets.values.max(initial=0))) + 2
    wanted = targets.rows * base + targets.values + 1
    given = np.arange(len(items))[:, None] * base + items + 1
    return Hits(_deep(np.isin(given, wanted) & (items >= 0)), targets.lengths)


def per_question(hits: Hits) -> dict[str, Values]:
    """Each metric of each question."""
    discounts = 1 / np.log2(np.arange(2, DEEPEST + 2))
    ideal = np.concatenate(([0], np.cumsum(discounts)))
    values: dict[str, Values] = {}
    for cut in CUTS:
        found = hits.found[:, :cut]
        values[f"HR@{cut}"] = np.asarray(found.any(axis=1), np.float64)
        values[f"NDCG@{cut}"] = np.asarray(found @ discounts[:cut]) / ideal[np.minimum(hits.relevant, cut)]
    return values


def means(hits: Hits) -> dict[str, float]:
    """Each metric over all questions."""
    return {name: float(values.mean()) for name, values in per_question(hits).items()}


def _deep(found: Mask) -> Mask:
    """Exactly DEEPEST places, so that lists of all lengths can be put together."""
    missing = DEEPEST - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing))) if missing > 0 else found[:, :DEEPEST]
