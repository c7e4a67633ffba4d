"""Item-kNN and EASE: which items go together, whatever their order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from neo_runtime.data.ragged import Ragged
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.evaluation.choosing import best, validation_sample, validation_score
from neo_runtime.evaluation.counts import LONGEST_HISTORY, history_matrix, powers, strongest
from neo_runtime.evaluation.ranker import Scores, ScoringRanker


def together(rows: Ragged, items: int) -> Any:
    """CSR [items, items]: in how many rows two items are together; on the diagonal, in how many an item is."""
    from scipy import sparse

    ones = np.ones(len(rows.values), np.float32)
    matrix = sparse.csr_matrix((ones, rows.values, rows.offsets), shape=(len(rows), items))
    return (matrix.T @ matrix).tocsr()


@dataclass(frozen=True, slots=True)
class KnnConstants:
    """`shrink`: added below the cosine, so that rare pairs are not trusted; `decay`: of a history item per place."""

    shrink: float = 10
    decay: float = 1.0
    neighbours: int = 200


class ItemKnn(ScoringRanker):
    """Cosine of the users of two items. Constants are chosen on validation where none are given."""

    def __init__(self, constants: KnnConstants | None = None) -> None:
        self.constants = constants

    def fit(self, split: Split, fit: Fit) -> None:
        from scipy import sparse

        if self.constants is None:
            candidates = [KnnConstants(shrink, decay) for shrink, decay in product((10, 30, 100), (1.0, 0.8, 0.6))]
            self.constants = best(split, [ItemKnn(one) for one in candidates]).constants
        assert self.constants is not None
        pairs = together(split.training(fit), split.item_count).tocoo()
        lengths = np.sqrt(pairs.diagonal())
        kept = pairs.row != pairs.col
        rows, columns = pairs.row[kept], pairs.col[kept]
        likeness = pairs.data[kept] / (lengths[rows] * lengths[columns] + self.constants.shrink)
        matrix = sparse.csr_matrix((likeness, (rows, columns)), shape=pairs.shape, dtype=np.float32)
        self._likeness = strongest(matrix, self.constants.neighbours)

    def scores(self, asked: Asked) -> Scores:
        assert self.constants is not None
        weights = powers(self.constants.decay, LONGEST_HISTORY)
        history = history_matrix(asked.histories.last(LONGEST_HISTORY), self._likeness.shape[0], weights)
        return np.asarray((history @ self._likeness).toarray(), np.float32)


@dataclass(frozen=True, slots=True)
class EaseConstants:
    """`penalty`: of the squared weights; `decay`: of a history item per place."""

    penalty: float = 60
    decay: float = 0.8


class Ease(ScoringRanker):
    """The linear item-item model with a zero diagonal, in closed form (Steck, 2019): one inverse of [items, items].

    For 12 thousand items 600 MB and some 40 seconds of one core. Constants are chosen on validation where none are
    given.
    """

    PENALTIES = (60.0, 200.0)
    DECAYS = (1.0, 0.8, 0.6)

    def __init__(self, constants: EaseConstants | None = None) -> None:
        self.constants = constants

    def fit(self, split: Split, fit: Fit) -> None:
        if self.constants is None:
            self.constants = self._chosen(split)
        self._weights = ease_weights(split.training(fit), split.item_count, self.constants.penalty)

    def _chosen(self, split: Split) -> EaseConstants:
        """One inverse for each penalty: decays differ in the histories alone."""
        cases, found = validation_sample(split), {}
        for penalty in self.PENALTIES:
            self._weights = ease_weights(split.training(Fit.T), split.item_count, penalty)
            for decay in self.DECAYS:
                self.constants = EaseConstants(penalty, decay)
                found[self.constants] = validation_score(self, cases)
        return max(found, key=found.__getitem__)

    def scores(self, asked: Asked) -> Scores:
        assert self.constants is not None
        weights = powers(self.constants.decay, LONGEST_HISTORY)
        history = history_matrix(asked.histories.last(LONGEST_HISTORY), len(self._weights), weights)
        return np.asarray(history @ self._weights, np.float32)


def ease_weights(rows: Ragged, items: int, penalty: float) -> Scores:
    """[items, items]: how much each item of a history says for each other one."""
    from scipy.linalg import lapack

    gram = together(rows, items).toarray(order="F")
    gram[np.diag_indices_from(gram)] += penalty
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    assert not failed, "a Gram matrix with a penalty is positive definite"
    inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    assert not failed
    weights = np.tril(inverse)
    weights += np.tril(inverse, -1).T
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return np.asarray(weights, np.float32)
