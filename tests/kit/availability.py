"""What a rights team says of when and where items may be shown, and what must come of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from neo_runtime.trie.windows import Window, is_available
from neo_runtime.types import ItemKey
from tests.kit.brokers import Record
from tests.kit.changes import PARTITIONS, START, START_US

EVERYWHERE, NOWHERE, IN_NORWAY = (Window(),), (), (Window(regions=("NO",)),)
OVER = (Window(end_us=START_US),)
REGIONS = ("", "NO", "SE")


@dataclass(frozen=True)
class Fact:
    """`time` counts milliseconds since `changes.START`. `windows` None: a null value, which takes the fact back."""

    item: str
    time: int
    windows: tuple[Window, ...] | None

    @property
    def key(self) -> ItemKey:
        return ItemKey.parse(self.item)

    @property
    def time_us(self) -> int:
        return START_US + self.time * 1_000


def record(fact: Fact) -> Record:
    """As proto3 JSON, on its type's partition."""
    key, partition = fact.item.encode(), PARTITIONS[fact.key.type]
    if fact.windows is None:
        return Record(key, None, [], partition)
    windows = [
        {"regions": list(window.regions), **({"endTime": START.isoformat()} if window.end_us is not None else {})}
        for window in fact.windows
    ]
    time = (START + timedelta(milliseconds=fact.time)).isoformat()
    value = {"item": {"itemType": fact.key.type, "itemId": fact.key.id}, "eventTime": time, "windows": windows}
    return Record(key, json.dumps(value).encode(), [], partition)


def random_fact(rng: random.Random, items: Mapping[str, tuple[tuple[Window, ...] | None, ...]], time: int) -> Fact:
    """One of what `items` allows to be said, sometimes late."""
    item = rng.choice(sorted(items))
    return Fact(item, time - rng.choice([0, 0, rng.randrange(60)]), rng.choice(items[item]))


class AvailabilityFold:
    """Say all facts of a type in the order of the log."""

    def __init__(self, log: Iterable[Fact]) -> None:
        self.known: dict[ItemKey, Fact] = {}
        for fact in log:
            self._say(fact)

    def _say(self, fact: Fact) -> None:
        known = self.known.get(fact.key)
        if fact.windows is None:
            self.known.pop(fact.key, None)
        elif known is None or fact.time >= known.time:
            self.known[fact.key] = fact

    def is_shown(self, key: ItemKey, region: str, now_us: int) -> bool:
        fact = self.known.get(key)
        return is_available(fact.windows if fact else None, now_us, region or None)
