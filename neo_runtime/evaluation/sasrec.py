"""SASRec (Kang and McAuley, 2018), with the loss of old tables, one negative, or with a softmax over all items.

The loss makes the difference, not the network: a model is to be judged against the softmax. The best epoch is chosen
on validation; a fit on train and validation runs as many epochs as the fit on train needed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from neo_runtime.data.ragged import Ragged
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.evaluation.choosing import validation_sample, validation_score
from neo_runtime.evaluation.ranker import Scores, ScoringRanker
from neo_runtime.evaluation.sasrec_model import LONGEST, SasRecNetwork

_CASES = 6_000  # after every epoch
_GROUP_LENGTHS = np.array([6, 9, 15])


class Loss(StrEnum):
    """At every position of a history."""

    SOFTMAX = "softmax"
    ONE_NEGATIVE = "one negative"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of the re-runs that reach the published figures. `patience`: epochs without a better validation."""

    rate: float = 1e-3
    batch_rows: int = 256
    most_epochs: int = 200
    patience: int = 5


class SasRec(ScoringRanker):
    """`constants` is the number of epochs, once a fit on T has chosen it."""

    def __init__(
        self, loss: Loss = Loss.SOFTMAX, recipe: Recipe | None = None, *, seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._loss, self._recipe, self._seed, self._say = loss, recipe or Recipe(), seed, say
        self.constants: int | None = None

    def fit(self, split: Split, fit: Fit) -> None:
        if fit is Fit.T or self.constants is None:
            self.constants = self._fit_until_best(split)
        if fit is Fit.TV:
            for _ in self._epochs(split.training(Fit.TV), split.item_count, self.constants):
                pass

    @torch.inference_mode()
    def scores(self, asked: Asked) -> Scores:
        network, histories = self._network.eval(), asked.histories.last(LONGEST)
        scores = np.empty((len(histories), network.padding), np.float32)
        for rows in _like_lengths(histories):
            items, lengths = _padded(histories.take(rows), network.padding)
            last = network(items)[torch.arange(len(items)), torch.clamp(lengths - 1, min=0)]
            scores[rows] = network.logits(last).numpy()
        return scores

    def _fit_until_best(self, split: Split) -> int:
        """Epochs of the best state, which is kept."""
        cases = validation_sample(split, _CASES)
        best, best_epoch, best_state = -1.0, 0, None
        training = split.training(Fit.T)
        for epoch in self._epochs(training, split.item_count, self._recipe.most_epochs):
            score = validation_score(self, cases)
            if score > best:
                best, best_epoch, best_state = score, epoch, copy.deepcopy(self._network.state_dict())
            self._say(f"epoch {epoch}, validation {score:.4f}, best {best:.4f} in epoch {best_epoch}")
            if epoch - best_epoch >= self._recipe.patience:
                break
        assert best_state is not None
        self._network.load_state_dict(best_state)
        return best_epoch

    def _epochs(self, training: Ragged, items: int, count: int) -> Iterator[int]:
        """A new network; yields after each epoch."""
        torch.manual_seed(self._seed)
        random = np.random.default_rng(self._seed)
        self._network = network = SasRecNetwork(items)
        optimizer = torch.optim.Adam(network.parameters(), lr=self._recipe.rate, betas=(0.9, 0.98))
        rows = np.flatnonzero(training.lengths > 1)
        for epoch in range(1, count + 1):
            network.train()
            order = random.permutation(rows)
            for first in range(0, len(order), self._recipe.batch_rows):
                batch = training.take(order[first : first + self._recipe.batch_rows])
                loss = self._batch_loss(network, batch.last(LONGEST + 1))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            yield epoch

    def _batch_loss(self, network: SasRecNetwork, batch: Ragged) -> Tensor:
        """Rows of like length go through the network together: most have six items, a few have fifty."""
        parts = []
        for rows in _like_lengths(batch):
            items, _ = _padded(batch.take(rows), network.padding)
            counted = items[:, 1:] != network.padding
            parts.append((network(items[:, :-1])[counted], items[:, 1:][counted]))
        states, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        if self._loss is Loss.SOFTMAX:
            return torch.nn.functional.cross_entropy(network.logits(states), targets)
        negatives = torch.randint(network.padding, targets.shape)
        difference = torch.stack(
            [(states * network.items(targets)).sum(-1), -(states * network.items(negatives)).sum(-1)]
        )
        return -torch.nn.functional.logsigmoid(difference).mean()


def _like_lengths(rows: Ragged) -> list[np.ndarray]:
    """Places of all rows, in groups that are padded to the length of their longest."""
    groups = np.searchsorted(_GROUP_LENGTHS, rows.lengths)
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]


def _padded(rows: Ragged, padding: int) -> tuple[Tensor, Tensor]:
    """int64 [rows, longest], padded on the right, and the lengths of the rows."""
    lengths = rows.lengths
    width = max(int(lengths.max(initial=0)), 1)
    items = np.full((len(rows), width), padding, np.int64)
    items[rows.rows, rows.places] = rows.values
    return torch.from_numpy(items), torch.from_numpy(lengths)
