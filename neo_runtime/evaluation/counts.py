"""Sequential rules and PCTM: directed counts of what follows what, summed over a history.

Both count, for every pair of items of a training row, how often the one comes d places after the other, d up to a
window, with less weight for a longer way; both sum the rows of the counts over the last items of a history, with less
weight for older ones. Rules sum the counts as they are, of each item's strongest followers. PCTM (RecSys 2026) sums the
logarithm of each count's excess over a uniform prior, so one strong follower cannot drown several weak ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.data.ragged import Ragged
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.data.transitions import transitions
from neo_runtime.evaluation.choosing import best
from neo_runtime.evaluation.ranker import Scores, ScoringRanker

Weights = NDArray[np.float32]
LONGEST_HISTORY = 50
# Items that no rule reaches come by popularity, behind all that one does.
_POPULARITY_WEIGHT = 1e-6


def powers(base: float, count: int) -> Weights:
    """1, base, base² …"""
    return np.asarray(base ** np.arange(count), np.float32)


def inverses(exponent: float, count: int) -> Weights:
    """1, 1/2^exponent, 1/3^exponent …"""
    return np.asarray(np.arange(1.0, count + 1) ** -float(exponent), np.float32)


def logarithmic(count: int) -> Weights:
    """1/log10(d + 1.7): 2.3, 1.8, 1.5 …, far flatter than 1/d."""
    return np.asarray(1 / np.log10(np.arange(1, count + 1) + 1.7), np.float32)


def history_matrix(histories: Ragged, items: int, weights: Weights) -> Any:
    """CSR [rows, items] of the histories' weighted items."""
    from scipy import sparse

    ages = histories.ages
    values = np.where(ages < len(weights), weights[np.minimum(ages, len(weights) - 1)], 0).astype(np.float32)
    return sparse.csr_matrix((values, histories.values, histories.offsets), shape=(len(histories), items))


@dataclass(frozen=True, slots=True)
class RuleConstants:
    """`followers`: of each item, the strongest so many rules are kept."""

    window: int = 10
    is_logarithmic: bool = True
    followers: int = 100
    history_exponent: float = 2


@dataclass(frozen=True, slots=True)
class PctmConstants:
    """`tau`: weight of the prior, in counts over the whole catalog; `popularity`: of its logarithm in a score."""

    window: int = 10
    distance_exponent: float = 0.5
    tau: float = 11_250
    history_decay: float = 0.6
    popularity: float = 0.0


class SequentialRules(ScoringRanker):
    """Constants are chosen on validation where none are given."""

    def __init__(self, constants: RuleConstants | None = None) -> None:
        self.constants = constants

    def fit(self, split: Split, fit: Fit) -> None:
        if self.constants is None:
            candidates = [
                RuleConstants(window, is_logarithmic, 100, exponent)
                for window, is_logarithmic, exponent in product((10, 30), (True, False), (1, 2))
            ]
            self.constants = best(split, [SequentialRules(one) for one in candidates]).constants
        constants, training = self.constants, split.training(fit)
        assert constants is not None
        weights = logarithmic(constants.window) if constants.is_logarithmic else inverses(1, constants.window)
        self._rules = strongest(transitions(training, split.item_count, weights), constants.followers)
        self._history = inverses(constants.history_exponent, 10)
        counts = np.bincount(training.values, minlength=split.item_count)
        self._background = (_POPULARITY_WEIGHT * np.log1p(counts)).astype(np.float32)

    def scores(self, asked: Asked) -> Scores:
        history = history_matrix(asked.histories, self._rules.shape[0], self._history)
        return np.asarray((history @ self._rules).toarray() + self._background, np.float32)


class Pctm(ScoringRanker):
    """Constants are chosen on validation where none are given."""

    def __init__(self, constants: PctmConstants | None = None) -> None:
        self.constants = constants

    def fit(self, split: Split, fit: Fit) -> None:
        if self.constants is None:
            self.constants = best(split, [Pctm(one) for one in self._candidates()]).constants
        constants, training = self.constants, split.training(fit)
        assert constants is not None
        weights = inverses(constants.distance_exponent, constants.window)
        self._evidence = transitions(training, split.item_count, weights)
        self._evidence.data = np.log1p(self._evidence.data * (split.item_count / constants.tau))
        counts = np.bincount(training.values, minlength=split.item_count)
        self._background = ((constants.popularity + _POPULARITY_WEIGHT) * np.log1p(counts)).astype(np.float32)

    def scores(self, asked: Asked) -> Scores:
        assert self.constants is not None
        histories = asked.histories.last(LONGEST_HISTORY)
        history = history_matrix(
            histories, self._evidence.shape[0], powers(self.constants.history_decay, LONGEST_HISTORY)
        )
        return np.asarray((history @ self._evidence).toarray() + self._background, np.float32)

    @staticmethod
    def _candidates() -> Iterator[PctmConstants]:
        for exponent, tau, decay, popularity in product((0.5, 1.0), (5_000, 15_000), (0.6, 0.8), (0.0, -0.04)):
            yield PctmConstants(10, exponent, tau, decay, popularity)


def strongest(matrix: Any, count: int) -> Any:
    """Of each row the `count` largest entries."""
    from scipy import sparse

    offsets = matrix.indptr.astype(np.int64)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(offsets))
    order = np.lexsort((-matrix.data, rows))
    kept = np.sort(order[np.arange(len(rows)) - offsets[rows] < count])
    parts = (matrix.data[kept], (rows[kept], matrix.indices[kept]))
    return sparse.csr_matrix(parts, shape=matrix.shape, dtype=np.float32)
