"""Published figures on Amazon 2014, with where they were read: facts of others, none of them run again here.

Grades: A, the authors' own repository; B, quoted with all four digits by an independent repository; C, one summary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neo_runtime.data.dataset import Dataset

FILE = Path(__file__).with_name("published.json")


class Published(NamedTuple):
    """All in the raw order unless the model says otherwise. None: not published, or not seen."""

    model: str
    hr_5: float | None
    ndcg_5: float | None
    hr_10: float | None
    ndcg_10: float | None
    source: str
    grade: str


def published(dataset: Dataset, item_type: str) -> Sequence[Published]:
    """Figures that compare: other data goes by the same names, so users and items must be as many as in the tables."""
    known = json.loads(FILE.read_text(encoding="utf-8")).get(item_type)
    if known is None or item_type not in dataset.sequences:
        return []
    counts = (len(dataset.sequences[item_type].users), len(dataset.items[item_type]))
    return [Published(*row) for row in known["rows"]] if counts == (known["users"], known["items"]) else []
