"""The most popular items for everybody: what any model must beat."""

from __future__ import annotations

import numpy as np

from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.evaluation.ranker import Scores, ScoringRanker


class Popularity(ScoringRanker):
    """Counts of the training part."""

    def fit(self, split: Split, fit: Fit) -> None:
        self._counts = np.bincount(split.training(fit).values, minlength=split.item_count).astype(np.float32)

    def scores(self, asked: Asked) -> Scores:
        return np.tile(self._counts, (len(asked), 1))
