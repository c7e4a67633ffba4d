"""Who is asked and what is right, in groups: by length of history, by popularity of the target, new items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neo_runtime.data.ragged import Mask
from neo_runtime.data.split import Cases, Split

HISTORY_LENGTHS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))
NEW_USERS = (2, 4)
TARGET_COUNTS = ((0, 0), (1, 4), (5, 9), (10, 29), (30, None))


def slices(split: Split, cases: Cases) -> Mapping[str, Mask]:
    """Named groups of cases; groups without a case are left out."""
    lengths = cases.asked.histories.lengths
    counts = split.popularity[cases.targets]
    found = {}
    for first, last in HISTORY_LENGTHS:
        name = f"history {_range(first, last)}" + (", new users" if (first, last) == NEW_USERS else "")
        found[name] = _within(lengths, first, last)
    for first, last in TARGET_COUNTS:
        found[f"target seen {_range(first, last)} times"] = _within(counts, first, last)
    if split.new_items.any():
        found["target is a new item"] = split.new_items[cases.targets]
    return {name: mask for name, mask in found.items() if mask.any()}


def _within(values: np.ndarray, first: int, last: int | None) -> Mask:
    return np.asarray((values >= first) & (values <= (np.inf if last is None else last)))


def _range(first: int, last: int | None) -> str:
    return f"{first}+" if last is None else str(first) if first == last else f"{first}–{last}"
