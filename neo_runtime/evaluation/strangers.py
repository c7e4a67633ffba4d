"""What a user of whom nothing is known is recommended: one list for all of them, beside the most popular items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.split import Order, Part, leave_one_out
from neo_runtime.engine.api import Constraints, RankedList, RankWork
from neo_runtime.evaluation.results import Check
from neo_runtime.evaluation.served import ServedModel
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.types import ItemKey

_LISTED = 10


def check_strangers(served: ServedModel, dataset: Dataset, order: Order) -> Iterator[Check]:
    """For each type, of all test items the share that stands among the first ten."""
    for name, sequences in sorted(dataset.sequences.items()):
        split = leave_one_out(sequences, len(dataset.items[name]), order)
        targets = split.cases(Part.TEST).targets
        asked = RankWork(TaskPrompt(Task.RECOMMEND, name), constraints=Constraints((name,)), max_results=_LISTED)
        rows = {item.key: row for row, item in enumerate(dataset.items[name])}
        (answer,) = served.answers([asked])
        ranked = answer[0].ranked if isinstance(answer, list) and isinstance(answer[0], RankedList) else ()
        listed = [rows[ItemKey(name, item)] for one in ranked for item in one.item_ids][:_LISTED]
        popular = np.argsort(-split.popularity, kind="stable")[:_LISTED]
        for who, items in (("", listed), (", by popularity", popular)):
            share = float(np.isin(targets, items).mean()) if len(targets) else 0.0
            yield Check(name, f"without a history: HR@{_LISTED}{who}", len(targets), share)
