"""Rankers of meaning alone: they know items that nobody has had to do with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.embed.base import Vectors, unit_rows
from neo_runtime.evaluation.choosing import validation_sample, validation_score
from neo_runtime.evaluation.counts import LONGEST_HISTORY, history_matrix, powers
from neo_runtime.evaluation.ranker import Scores, ScoringRanker

POWERS, DECAYS = (1.0, 2.0, 4.0), (1.0, 0.8, 0.6)


class Likeness(NamedTuple):
    """`power`: of a cosine; the higher, the more the one item that is nearest counts beside the whole history.
    `decay`: what an item of the history weighs beside the one after it.
    """

    power: float
    decay: float

    def __str__(self) -> str:
        return f"cosines to the power of {self.power:g}, decay {self.decay:g}"


class ContentKnn(ScoringRanker):
    """The sum of an item's likenesses to those of the history: Σ decay^t · max(cosine, 0)^power.

    Learns nothing but the two constants. Keeps a float32 [items, items].
    """

    def __init__(self, vectors: Vectors, constants: Likeness | None = None) -> None:
        self._vectors, self.constants = unit_rows(vectors), constants

    def fit(self, split: Split, fit: Fit) -> None:
        if self.constants is None:
            cases, found = validation_sample(split), {}
            for power in POWERS:
                self._raise_to(power)
                for decay in DECAYS:
                    self.constants = Likeness(power, decay)
                    found[self.constants] = validation_score(self, cases)
            self.constants = max(found, key=found.__getitem__)
        self._raise_to(self.constants.power)

    def scores(self, asked: Asked) -> Scores:
        assert self.constants is not None
        weights = powers(self.constants.decay, LONGEST_HISTORY)
        history = history_matrix(asked.histories.last(LONGEST_HISTORY), len(self._vectors), weights)
        return np.asarray(history @ self._likenesses, np.float32)

    def _raise_to(self, power: float) -> None:
        self._likenesses = self._vectors @ self._vectors.T
        np.maximum(self._likenesses, 0, out=self._likenesses)
        np.power(self._likenesses, power, out=self._likenesses)
