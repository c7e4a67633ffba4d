"""What a user of whom nothing is known is recommended: one list for all of them, beside the most popular items."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.ragged import Indices
from neo_runtime.data.split import Order, Part, leave_one_out
from neo_runtime.evaluation.results import Check

LISTED = 10


def check_strangers(dataset: Dataset, order: Order, listed: Callable[[str], Indices]) -> Iterator[Check]:
    """For each type, of all test items the share that stands among the first ten. `listed`: a type to the model's."""
    for name, sequences in sorted(dataset.sequences.items()):
        split = leave_one_out(sequences, len(dataset.items[name]), order)
        targets = split.cases(Part.TEST).targets
        popular = np.argsort(-split.popularity, kind="stable")[:LISTED]
        for who, items in (("", listed(name)), (", by popularity", popular)):
            share = float(np.isin(targets, items).mean()) if len(targets) else 0.0
            yield Check(name, f"without a history: HR@{LISTED}{who}", len(targets), share)
