"""Two rankers as one: the scores of both lists, each on its own scale, summed with a weight chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from itertools import product, starmap
from typing import NamedTuple

import numpy as np

from neo_runtime.data.ragged import Indices
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.evaluation.choosing import validation_sample
from neo_runtime.evaluation.metrics import DEEPEST, MAIN, Hits, means, single_hits
from neo_runtime.evaluation.ranker import NONE, Ranked, Ranker, Scores

POOL = 200
"""Items of each list that are looked at; what is in one list alone gets the other's lowest score."""
WEIGHTS = (0.0, 0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
RANK_OFFSET = 20
BELOW = 1e-4


class Scale(StrEnum):
    """How a list's scores are made comparable: standardised, or forgotten for 1/(RANK_OFFSET + place)."""

    STANDARDISED = "z"
    RECIPROCAL = "rank"


class Fusion(NamedTuple):
    """How two lists become one: the first weighs 1."""

    scale: Scale
    weight: float

    @property
    def words(self) -> str:
        return f"{self.scale} scores, second weighs {self.weight:g}"


class Fused:
    """`weight` is the second ranker's, the first one's is 1. Scale and weight are chosen on validation."""

    def __init__(self, first: Ranker, second: Ranker) -> None:
        self._first, self._second = first, second
        self._chosen: Fusion | None = None

    @property
    def constants(self) -> str:
        return "" if self._chosen is None else self._chosen.words

    def fit(self, split: Split, fit: Fit) -> None:
        """Chosen with both fitted on T, whatever they are fitted on afterwards."""
        if self._chosen is None:
            self._first.fit(split, Fit.T)
            self._second.fit(split, Fit.T)
            self._chosen = self._choice(split)
            if fit is Fit.T:
                return
        self._first.fit(split, fit)
        self._second.fit(split, fit)

    def _choice(self, split: Split) -> Fusion:
        cases = validation_sample(split)
        first, second = self._first.rank(cases.asked, POOL), self._second.rank(cases.asked, POOL)
        return best_fusion(first, second, lambda items: single_hits(items, cases.targets))

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        assert self._chosen is not None
        pool = max(k, POOL)
        return fuse(self._first.rank(asked, pool), self._second.rank(asked, pool), *self._chosen, k)


def best_fusion(first: Ranked, second: Ranked, hits: Callable[[Indices], Hits]) -> Fusion:
    """The one whose lists score best."""
    found = {
        fusion: means(hits(fuse(first, second, *fusion, DEEPEST).items))[MAIN]
        for fusion in starmap(Fusion, product(Scale, WEIGHTS))
    }
    return max(found, key=found.__getitem__)


def fuse(first: Ranked, second: Ranked, scale: Scale, weight: float, k: int) -> Ranked:
    """The best `k` of both lists together, [questions, k]."""
    ours, theirs = _scaled(first, scale), _scaled(second, scale)
    items = np.concatenate((first.items, second.items), axis=1)
    width = first.items.shape[1]
    order = np.argsort(items, axis=1, kind="stable")
    items = np.take_along_axis(items, order, axis=1)
    is_ours = order < width
    # Just below the list: the last item of a short one must not tie with all that it does not hold.
    floors = ours.min(axis=1, keepdims=True) - BELOW, weight * (theirs.min(axis=1, keepdims=True) - BELOW)
    own = np.take_along_axis(np.concatenate((ours, weight * theirs), axis=1), order, axis=1)
    # An item of both lists stands twice in a row, ours first; where it stands once, the other list's floor is added.
    is_pair = np.zeros(items.shape, np.bool_)
    is_pair[:, :-1] = (items[:, 1:] == items[:, :-1]) & (items[:, :-1] != NONE)
    total = own + np.where(is_ours, floors[1], floors[0])
    total[:, :-1] = np.where(is_pair[:, :-1], own[:, :-1] + own[:, 1:], total[:, :-1])
    second_of_pair = np.zeros_like(is_pair)
    second_of_pair[:, 1:] = is_pair[:, :-1]
    total[second_of_pair | (items == NONE)] = -np.inf
    best = np.argsort(-total, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(total, best, axis=1).astype(np.float32)
    return Ranked(np.where(np.isfinite(scores), np.take_along_axis(items, best, axis=1), NONE).astype(np.int32), scores)


def _scaled(ranked: Ranked, scale: Scale) -> Scores:
    """[questions, k]; what stands behind a list's end has the lowest score of the list."""
    is_item = ranked.items != NONE
    if scale is Scale.RECIPROCAL:
        places = np.arange(ranked.items.shape[1])
        scores = np.broadcast_to(1 / (RANK_OFFSET + places), ranked.items.shape)
    else:
        known = np.where(is_item, ranked.scores, 0)
        counts = np.maximum(is_item.sum(axis=1, keepdims=True), 1)
        mean = known.sum(axis=1, keepdims=True) / counts
        squares = np.where(is_item, (known - mean) ** 2, 0).sum(axis=1, keepdims=True) / counts
        scores = (known - mean) / np.sqrt(np.maximum(squares, 1e-12))
    lowest = np.where(is_item, scores, np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0)
    return np.where(is_item, scores, lowest).astype(np.float32)
