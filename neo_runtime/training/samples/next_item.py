"""Next-item recommendation: a user's history, and the item that came next (NEO, stage 3)."""

from __future__ import annotations

import numpy as np

from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.training.examples import Sample, task_sample
from neo_runtime.training.samples.histories import Histories, HistoryOptions, windows


class NextItem:
    """`every_prefix`: the codes of the history are targets too, so a sample holds all its prefixes and its answer is
    the last item; else the answer is any item of the row, drawn anew each time.

    `strangers`: share of the samples that say nothing of the user, so what is popular is learned for those.
    """

    def __init__(
        self, histories: Histories, options: HistoryOptions, *, every_prefix: bool, strangers: float = 0.0
    ) -> None:
        self._histories, self._options, self._every_prefix = histories, options, every_prefix
        self._strangers = strangers
        self._rows = windows(histories.rows, options.window)

    def __len__(self) -> int:
        return len(self._rows)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        row = int(self._rows[place])
        items = self._histories.drawn(row, self._options, random)
        if not self._every_prefix:
            items = items[: int(random.integers(len(items))) + 1]
        elsewhere = self._histories.elsewhere(row, self._options, random)
        *history, target = items
        if self._strangers and random.random() < self._strangers:
            history, elsewhere = [], []
        return task_sample(
            random, TaskPrompt(Task.RECOMMEND, target.type), [*elsewhere, *history], (target,),
            context_items=len(elsewhere),
        )  # fmt: skip
