"""Samples in batches of equal cost, in an order that depends on a seed and a number alone.

Any batch can be made without those before it, so an interrupted run goes on where it was, and several processes or
loader workers agree without a word. Lengths vary a lot: a pool of samples is sorted by length and cut into batches of
as many tokens each, so little is padding, and the batches of a pool come in random order.

Batches are padded on the right, where a causal model never looks. Packing samples into one row was no faster: see
docs/training.md for what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from neo_runtime.training.examples import Example, Sample
from neo_runtime.training.losses import IGNORED

POOL_BATCHES = 32
_PROBED = 512  # samples that tell how long samples are
Batch = dict[str, torch.Tensor]


class SampleStream(Protocol):
    """An endless stream of samples, by number."""

    def __len__(self) -> int:
        """Samples of an epoch."""

    def sample(self, number: int) -> Sample:
        """The same for the same number, whoever asks, whenever."""


class Batches(Dataset[Batch]):
    """Batch i of `count`. Each is {"input_ids": int64 [n, t], "labels": int64 [n, t]}: what each position is to
    predict, IGNORED where nothing.
    """

    def __init__(
        self, stream: SampleStream, write: Callable[[Sample], Example], *, batch_tokens: int, count: int = 0,
        seed: int = 0, never_learned: int | None = None,
    ) -> None:  # fmt: skip
        self.count = count
        self._stream, self._write, self._seed = stream, write, seed
        self._never_learned = never_learned
        probed = [len(write(stream.sample(number)).tokens) for number in range(min(_PROBED, len(stream)))]
        self.mean_tokens = float(np.mean(probed))
        self._pool_samples = max(POOL_BATCHES, round(POOL_BATCHES * batch_tokens / self.mean_tokens))
        self._pool: tuple[int, list[list[Example]]] = (-1, [])

    @property
    def samples_per_batch(self) -> float:
        return self._pool_samples / POOL_BATCHES

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        pool, place = divmod(number, POOL_BATCHES)
        if self._pool[0] != pool:
            self._pool = pool, self._make_pool(pool)
        return padded(self._pool[1][place], self._never_learned)

    def _make_pool(self, pool: int) -> list[list[Example]]:
        first = pool * self._pool_samples
        examples = [self._write(self._stream.sample(first + place)) for place in range(self._pool_samples)]
        examples.sort(key=lambda example: len(example.tokens))
        cuts = equal_cuts(np.array([len(example.tokens) for example in examples]), POOL_BATCHES)
        runs = [examples[start:stop] for start, stop in pairwise(cuts)]
        order = np.random.default_rng((self._seed, pool)).permutation(POOL_BATCHES)
        return [runs[place] for place in order]


def equal_cuts(lengths: NDArray[np.int64], parts: int) -> list[int]:
    """Where to cut sorted lengths into `parts` runs, none empty, of about the same sum."""
    assert len(lengths) >= parts
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, parts) / parts, side="right")
    places = np.arange(1, parts)
    cuts = np.maximum.accumulate(cuts - places) + places  # each behind the one before
    cuts = np.clip(cuts, places, len(lengths) - parts + places)
    return [0, *cuts.tolist(), len(lengths)]


def padded(run: Sequence[Example], never_learned: int | None = None) -> Batch:
    """One batch of some examples. `never_learned`: a token that is nobody's target."""
    longest = max(len(example.tokens) for example in run)
    tokens = np.zeros((len(run), longest), np.int64)
    targets = np.full((len(run), longest), IGNORED, np.int64)
    for row, (ids, learned) in enumerate(run):
        tokens[row, : len(ids)] = ids
        targets[row, : len(ids) - 1] = np.where(learned[1:], ids[1:], IGNORED)
    if never_learned is not None:
        targets[targets == never_learned] = IGNORED
    return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(targets)}
