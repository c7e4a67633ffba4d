"""Samples in batches of equal cost, in an order that depends on a seed and a number alone.

Any batch can be made without those before it, so an interrupted run goes on where it was, and several processes or
loader workers agree without a word. Lengths vary a lot: a pool of samples is sorted by length and cut into batches of
as many tokens each, so little is padding, and the batches of a pool come in random order.

Batches are padded on the right, where a causal model never looks. Samples may share rows instead, told apart by their
positions, which start again with each: what a GPU may gain from, and what was slower on a CPU (docs/training.md).
"""

from __future__ import annotations

from bisect import bisect_left, insort
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
Row = list[Example]
"""Of samples that share it, one after the other."""


class SampleStream(Protocol):
    """An endless stream of samples, by number."""

    def __len__(self) -> int:
        """Samples of an epoch."""

    def sample(self, number: int) -> Sample:
        """The same for the same number, whoever asks, whenever."""


class Batches(Dataset[Batch]):
    """Batch i of `count`. Each is {"input_ids": int64 [n, t], "labels": int64 [n, t]}: what each position is to
    predict, IGNORED where nothing; and "position_ids" where samples share rows, of `row_tokens` and half of a batch at
    most (0: a row each).
    """

    def __init__(
        self, stream: SampleStream, write: Callable[[Sample], Example], *, batch_tokens: int, count: int = 0,
        seed: int = 0, never_learned: int | None = None, row_tokens: int = 0,
    ) -> None:  # fmt: skip
        self.count = count
        self._row_tokens = min(row_tokens, batch_tokens // 2)
        self._stream, self._write, self._seed = stream, write, seed
        self._never_learned = never_learned
        probed = [len(write(stream.sample(number)).tokens) for number in range(min(_PROBED, len(stream)))]
        self.mean_tokens = float(np.mean(probed))
        self._pool_samples = max(POOL_BATCHES, round(POOL_BATCHES * batch_tokens / self.mean_tokens))
        self._pool: tuple[int, list[list[Row]]] = (-1, [])

    @property
    def samples_per_batch(self) -> float:
        return self._pool_samples / POOL_BATCHES

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        pool, place = divmod(number, POOL_BATCHES)
        if self._pool[0] != pool:
            self._pool = pool, self._make_pool(pool)
        return batch_of(self._pool[1][place], self._never_learned)

    def _make_pool(self, pool: int) -> list[list[Row]]:
        first = pool * self._pool_samples
        examples = [self._write(self._stream.sample(first + place)) for place in range(self._pool_samples)]
        rows = shared_rows(examples, self._row_tokens) if self._row_tokens else [[example] for example in examples]
        rows.sort(key=_length)
        cuts = equal_cuts(np.array([_length(row) for row in rows]), POOL_BATCHES)
        runs = [rows[start:stop] for start, stop in pairwise(cuts)]
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


def shared_rows(examples: Sequence[Example], row_tokens: int) -> list[Row]:
    """Each example, the longest first, in the row with the least room that is left for it; a longer one than
    `row_tokens` has a row for itself.
    """
    rows, room = list[Row](), list[tuple[int, int]]()
    for example in sorted(examples, key=lambda one: len(one.tokens), reverse=True):
        place = bisect_left(room, (len(example.tokens), 0))
        if place == len(room):
            left, row = row_tokens, len(rows)
            rows.append([])
        else:
            left, row = room.pop(place)
        rows[row].append(example)
        insort(room, (left - len(example.tokens), row))
    return rows


def batch_of(rows: Sequence[Row], never_learned: int | None = None) -> Batch:
    """One batch. Positions of padding are 0, so that it is nobody's context where rows are shared. `never_learned`: a
    token that is nobody's target.
    """
    shape = len(rows), max(map(_length, rows))
    tokens, positions, targets = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
    for number, row in enumerate(rows):
        start = 0
        for ids, learned in row:
            end = start + len(ids)
            tokens[number, start:end], positions[number, start:end] = ids, np.arange(len(ids))
            targets[number, start : end - 1] = np.where(learned[1:], ids[1:], IGNORED)
            start = end
    if never_learned is not None:
        targets[targets == never_learned] = IGNORED
    batch = {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(targets)}
    is_shared = any(len(row) > 1 for row in rows)
    return batch | {"position_ids": torch.from_numpy(positions)} if is_shared else batch


def _length(row: Row) -> int:
    return sum(len(example.tokens) for example in row)
