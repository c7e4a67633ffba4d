"""What is evaluated: a ranker of a type's items for histories, and how scores of all items become lists.

A model from outside, as NEO's own, is a class with `fit` and `rank`; it is given histories and row numbers, never
targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from neo_runtime.data.ragged import Indices, Mask
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.evaluation.metrics import DEEPEST

Scores = NDArray[np.float32]
NONE = -1
"""In the place of an item where a list is shorter than asked for."""
_BATCH = 512
_BLOCK = 64


class Ranked(NamedTuple):
    """Lists of items, best first, [questions, k]; NONE and -inf behind the end of a list."""

    items: Indices
    scores: Scores

    def of_length(self, k: int) -> Ranked:
        """Cut, or with nothing behind the end."""
        missing = ((0, 0), (0, max(0, k - self.items.shape[1])))
        return Ranked(
            np.pad(self.items, missing, constant_values=NONE)[:, :k],
            np.pad(self.scores, missing, constant_values=-np.inf)[:, :k],
        )


class Ranker(Protocol):
    """Items of the split's type, ranked for histories; items of a history never come back in its list."""

    def fit(self, split: Split, fit: Fit) -> None:
        """Learn from `split.training(fit)` alone. Whatever is chosen is chosen on the validation part, fitted on T."""

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        """For each row, `k` items. `asked.rows` are rows of the split that was fitted on."""


class ScoringRanker(ABC):
    """A ranker that has a score for every item."""

    @abstractmethod
    def fit(self, split: Split, fit: Fit) -> None: ...

    @abstractmethod
    def scores(self, asked: Asked) -> Scores:
        """[rows, items], an array of the caller's own."""

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        return rank_by_scores(self.scores, asked, k)

    def rank_among(self, asked: Asked, items: Mask, k: int = DEEPEST) -> Ranked:
        """Of the `items` alone."""
        return rank_by_scores(lambda batch: np.where(items, self.scores(batch), -np.inf), asked, k)


def rank_by_scores(scores: Callable[[Asked], Scores], asked: Asked, k: int) -> Ranked:
    """In batches, the history left out."""
    lists = []
    for first in range(0, len(asked), _BATCH):
        places = np.arange(first, min(first + _BATCH, len(asked)))
        batch = Asked(asked.rows[places], asked.histories.take(places))
        found = scores(batch)
        found[batch.histories.rows, batch.histories.values] = -np.inf
        lists.append(top(found, k))
    if not lists:
        return Ranked(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    return Ranked(*(np.concatenate(column) for column in zip(*lists, strict=True)))


def top(scores: Scores, k: int) -> Ranked:
    """The best `k` of each row, exactly; equal ones in an order that is the same each time.

    The best k lie in the k blocks with the highest maxima, and maxima are read at the speed of memory: five times
    faster than partitioning whole rows of 12 thousand scores.
    """
    rows, items = scores.shape
    blocks = -(-items // _BLOCK)
    padded = np.full((rows, blocks, _BLOCK), -np.inf, np.float32)
    padded.reshape(rows, -1)[:, :items] = scores
    wanted = min(k, blocks)
    best = np.sort(np.argpartition(-padded.max(axis=2), wanted - 1, axis=1)[:, :wanted], axis=1)
    values = np.take_along_axis(padded, best[:, :, None], axis=1).reshape(rows, -1)
    places = (best[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(rows, -1)
    kept = np.argpartition(-values, min(k, values.shape[1]) - 1, axis=1)[:, :k]
    values, places = np.take_along_axis(values, kept, axis=1), np.take_along_axis(places, kept, axis=1)
    order = np.lexsort((places, -values), axis=1)
    values, places = np.take_along_axis(values, order, axis=1), np.take_along_axis(places, order, axis=1)
    places = np.where(np.isfinite(values), places, NONE).astype(np.int32)
    return Ranked(places, values).of_length(k)  # more may be asked for than there are
