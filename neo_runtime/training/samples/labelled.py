"""Recommend-and-explain and user profiles: samples whose words a teacher gives (NEO, stage 3).

The teacher sees the items' texts, the student their semantic IDs. Which histories are labelled is drawn once from the
seed, so a label is asked for once, however many epochs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from neo_runtime.catalog.item import Upsert
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.training.examples import Sample, task_sample
from neo_runtime.training.samples.histories import Histories, HistoryOptions
from neo_runtime.training.teacher import Ask, Teacher
from neo_runtime.types import ItemKey

FEWEST_FOR_A_PROFILE = 3
Progress = Callable[[int, int], None]
"""Told how many labels of how many there are."""


class Explained:
    """An item recommended, with the reason."""

    def __init__(
        self, histories: Histories, items: Mapping[ItemKey, Upsert], teacher: Teacher, count: int,
        options: HistoryOptions, seed: int, progress: Progress = lambda *_: None,
    ) -> None:  # fmt: skip
        drawn = _drawn(histories, count, 2, options, seed)
        self._histories = [tuple(row) for row in drawn]
        asks = [Ask(tuple(items[key] for key in row[:-1]), items[row[-1]]) for row in drawn]
        self._labels = teacher.answers(asks, progress)

    def __len__(self) -> int:
        return len(self._histories)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        *history, target = self._histories[place]
        answer = ("Try ", target, f": {self._labels[place]}")
        return task_sample(random, TaskPrompt(Task.EXPLAIN, target.type), history, answer)


class Profiles:
    """A history, and its user in words."""

    def __init__(
        self, histories: Histories, items: Mapping[ItemKey, Upsert], teacher: Teacher, count: int,
        options: HistoryOptions, seed: int, progress: Progress = lambda *_: None,
    ) -> None:  # fmt: skip
        self._histories = [tuple(row) for row in _drawn(histories, count, FEWEST_FOR_A_PROFILE, options, seed)]
        asks = [Ask(tuple(items[key] for key in row), None) for row in self._histories]
        self._labels = teacher.answers(asks, progress)

    def __len__(self) -> int:
        return len(self._histories)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        history = self._histories[place]
        prompt = TaskPrompt(Task.UNDERSTAND, "", history)
        return task_sample(random, prompt, (), (self._labels[place],), context_items=len(history))


def _drawn(
    histories: Histories, count: int, fewest: int, options: HistoryOptions, seed: int
) -> Sequence[list[ItemKey]]:
    """Of `count` rows with `fewest` items at least, as one sample sees them."""
    random = np.random.default_rng((seed, fewest))
    rows = np.flatnonzero(histories.rows.lengths >= fewest)
    drawn = [histories.drawn(int(row), options, random) for row in random.permutation(rows)[:count]]
    return [row for row in drawn if len(row) >= fewest]
