"""What is left of all lines of one item, by the rules of `batch`: the newest counts, of equal times the later line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import eq

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_runs import Entries
from neo_runtime.trie.windows import Window

Numbers = NDArray[np.int32]


class Said(msgspec.Struct, array_like=True, frozen=True):
    """What a line says of an item's availability. `order`: the line's place among all lines."""

    windows: tuple[Window, ...] | None
    event_time_us: int
    order: int


@dataclass(slots=True)
class Facts:
    """Of the lines that have a number: what decides between them."""

    times_us: NDArray[np.int64]
    paths: NDArray[np.uint64]
    is_deletion: NDArray[np.bool_]


@dataclass(slots=True)
class Folded:
    """Items of one part, by id; `said` also of items that there are not.

    `final[i]` is the number of the line that item i was left in, `placed[i]` of the one that led to its path.
    `again`: lines of `numbers` (all that have one) that follow a state of a live item, as pairs of places in it.
    """

    ids: list[bytes]
    final: Numbers
    placed: Numbers
    numbers: Numbers
    said: dict[bytes, Said] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    again: list[tuple[int, int]] = field(default_factory=list)


def fold(entries: Entries, facts: Facts) -> Folded:
    """All lines of some items."""
    numbers = np.array([number for number in entries.numbers if number >= 0], np.int32)
    if len(numbers) == len(entries.ids) and not any(map(eq, entries.ids, entries.ids[1:])):
        folded = Folded(entries.ids, numbers, numbers, numbers)
        deletions = int(facts.is_deletion[numbers].sum())
        folded.counts.update(upserted=len(numbers) - deletions, unknown_deletes=deletions)
        return folded
    ids, final, placed = list[bytes](), list[int](), list[int]()
    folded = Folded(ids, numbers, numbers, numbers)
    place = 0  # among `numbers`
    for item_id, group in _groups(entries):
        item = _Item(facts, folded, place)
        for number, said in group:
            item.take(number, said)
        place = item.place
        if item.said:
            folded.said[item_id] = item.said
        if item.final >= 0:
            ids.append(item_id)
            final.append(item.final)
            placed.append(item.placed)
    folded.final, folded.placed = np.array(final, np.int32), np.array(placed, np.int32)
    return folded


def _groups(entries: Entries) -> Iterator[tuple[bytes, list[tuple[int, bytes | None]]]]:
    start, ids = 0, entries.ids
    for end in range(1, len(ids) + 1):
        if end == len(ids) or ids[end] != ids[start]:
            yield ids[start], list(zip(entries.numbers[start:end], entries.said[start:end], strict=True))
            start = end


_decode_said = msgspec.msgpack.Decoder(Said).decode


class _Item:
    """One item while its lines come. `place`: of the next numbered line."""

    def __init__(self, facts: Facts, folded: Folded, place: int) -> None:
        self._facts, self._folded, self.place = facts, folded, place
        self.final, self.placed = -1, -1
        self.said: Said | None = None
        self._is_live, self._final_place = False, -1

    def take(self, number: int, said: bytes | None) -> None:
        if said is not None:
            self._say(_decode_said(said))
            return
        facts = self._facts
        if self.final >= 0 and facts.times_us[number] < facts.times_us[self.final]:
            self._count("stale")
        elif facts.is_deletion[number]:
            self._count("unknown_deletes" if self.final < 0 else "deleted" if self._is_live else "unchanged")
            self._become(number, is_live=False)
        else:
            if self._is_live:
                self._folded.again.append((self._final_place, self.place))
            else:
                self._count("upserted")
            if not self._is_live or facts.paths[number] != facts.paths[self.final]:
                self.placed = number
            self._become(number, is_live=True)
        self.place += 1

    def _become(self, number: int, *, is_live: bool) -> None:
        self.final, self._is_live, self._final_place = number, is_live, self.place

    def _say(self, said: Said) -> None:
        if self.said and said.event_time_us < self.said.event_time_us:
            self._count("stale")
            return
        self._count("availability")
        self.said = said if said.windows is not None else None

    def _count(self, name: str) -> None:
        self._folded.counts[name] += 1
