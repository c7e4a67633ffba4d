"""The Amazon 2014 catalog beside the checkout, where it lies: three item types, real users. Nothing is copied."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neo_runtime.data import amazon as convert

FOLDER = Path(os.environ.get("NEO_AMAZON_DATA", Path(__file__).parents[3] / "shared" / "data" / "amazon-2014"))
TYPES = ("beauty", "toys", "office")
needs_amazon = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the Amazon 2014 data is not in {FOLDER}; NEO_AMAZON_DATA names another folder"
)


def item_lines(item_type: str) -> Iterator[dict[str, object]]:
    """Items in the runtime's own file format."""
    return convert.item_lines(FOLDER, item_type)


@dataclass(frozen=True)
class User:
    """One user's items of one type, oldest first; the last is the test item, the one before for validation."""

    number: int
    item_type: str
    items: tuple[str, ...]

    @property
    def train(self) -> tuple[str, ...]:
        return self.items[:-2]

    @property
    def context(self) -> tuple[str, ...]:
        """What is known when the test item is to be guessed."""
        return self.items[:-1]

    @property
    def target(self) -> str:
        return self.items[-1]


def users(item_type: str) -> list[User]:
    return [User(int(row.user), item_type, tuple(row.items)) for row in convert.sequence_rows(FOLDER, item_type)]


def popularity_hits(people: list[User], tested: list[User], k: int = 10) -> float:
    """HR@k, for `tested`, of the most popular items of everybody's training part, the user's own left out."""
    counts = Counter(item for user in people for item in user.train)
    ranked = [item for item, _ in counts.most_common(k + 500)]
    hits = 0
    for user in tested:
        seen = set(user.context)
        hits += user.target in [item for item in ranked if item not in seen][:k]
    return hits / len(tested)
