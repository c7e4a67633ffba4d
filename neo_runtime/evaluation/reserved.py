"""Reserved places: a list in which every third place is for a new item, whatever the known ones score.

What nobody has had to do with yet loses to what many have, in counts and in learned codes alike, so it is never shown
and stays unknown. A fixed share of places ends that at a known price: each costs the lists the item that stood there.
A catalog knows which items are new by when they were published; in an evaluation they are the split's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol, runtime_checkable

import numpy as np

from neo_runtime.data.ragged import Mask
from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.errors import DataError
from neo_runtime.evaluation.metrics import DEEPEST
from neo_runtime.evaluation.ranker import NONE, Ranked, Ranker

EVERY = 3
SUFFIX = "-new"
"""Behind a ranker's name: the same one with reserved places."""


@runtime_checkable
class RanksAmong(Protocol):
    """A ranker that can be asked for some of the items alone."""

    def rank_among(self, asked: Asked, items: Mask, k: int = DEEPEST) -> Ranked:
        """As `rank`, of the `items` alone."""


class Reserved:
    """Two lists of one ranker, of all items and of the new ones alone, merged. Scores are minus the place."""

    def __init__(self, ranker: Ranker, every: int = EVERY) -> None:
        """DataError where the ranker cannot be asked for some items alone."""
        if not isinstance(ranker, RanksAmong):
            raise DataError(f"{type(ranker).__name__} has no rank_among, so it can keep no places for new items")
        self._ranker, self._among, self._every = ranker, ranker, every

    @property
    def constants(self) -> str:
        chosen = getattr(self._ranker, "constants", None)
        return f"every {self._every}rd place" + ("" if chosen is None else f", {chosen}")

    def fit(self, split: Split, fit: Fit) -> None:
        self._ranker.fit(split, fit)
        self._new_items = split.new_items

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        ordinary, new = self._ranker.rank(asked, k), self._among.rank_among(asked, self._new_items, k)
        return reserve(ordinary, new, self._every)


def reserve(ordinary: Ranked, new: Ranked, every: int) -> Ranked:
    """Lists as long as the ordinary ones: place `every`, and each `every` places on, for the best new item that does
    not stand further up, the others for the best of all. Where one list ends the other goes on.
    """
    k = ordinary.items.shape[1]
    merged = [
        list(_merged(*lists, every, k)) for lists in zip(ordinary.items.tolist(), new.items.tolist(), strict=True)
    ]
    items = np.array([row + [NONE] * (k - len(row)) for row in merged], np.int32).reshape(-1, k)
    return Ranked(items, np.where(items == NONE, -np.inf, -np.arange(k)).astype(np.float32))


def _merged(ordinary: list[int], new: list[int], every: int, k: int) -> Iterator[int]:
    taken = {NONE}
    for place in range(1, k + 1):
        first, second = (new, ordinary) if place % every == 0 else (ordinary, new)
        chosen = next((item for item in chain(first, second) if item not in taken), None)
        if chosen is None:
            return
        taken.add(chosen)
        yield chosen
