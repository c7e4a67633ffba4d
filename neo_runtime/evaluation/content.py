"""Rankers of meaning alone: they know items that nobody has had to do with."""

from __future__ import annotations

import numpy as np

from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.embed.base import Vectors, unit_rows
from neo_runtime.evaluation.choosing import validation_sample, validation_score
from neo_runtime.evaluation.counts import LONGEST_HISTORY, history_matrix, powers
from neo_runtime.evaluation.ranker import Scores, ScoringRanker

DECAYS = (1.0, 0.8, 0.6)


class ContentKnn(ScoringRanker):
    """Cosine of an item's embedding and the weighted mean of the history's. Learns nothing but the decay of weights."""

    def __init__(self, vectors: Vectors, decay: float | None = None) -> None:
        self._vectors, self.constants = unit_rows(vectors), decay

    def fit(self, split: Split, fit: Fit) -> None:
        if self.constants is None:
            cases, found = validation_sample(split), {}
            for decay in DECAYS:
                self.constants = decay
                found[decay] = validation_score(self, cases)
            self.constants = max(found, key=found.__getitem__)

    def scores(self, asked: Asked) -> Scores:
        assert self.constants is not None
        weights = powers(self.constants, LONGEST_HISTORY)
        history = history_matrix(asked.histories.last(LONGEST_HISTORY), len(self._vectors), weights)
        return np.asarray((history @ self._vectors) @ self._vectors.T, np.float32)
