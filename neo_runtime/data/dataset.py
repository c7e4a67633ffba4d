"""A data folder in memory: items as the catalog reads them, interactions in columns, queries.

`items*.jsonl`, `interactions*.jsonl`, `queries*.jsonl`, each may be .gz; docs/data.md has the format. Every line is
checked, and DataError names the first one that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Rejected, Upsert
from neo_runtime.data.line import Interaction, Query, parse_interaction, parse_query
from neo_runtime.data.ragged import Mask, Ragged
from neo_runtime.errors import DataError
from neo_runtime.ingest.bulk import read_lines
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.types import ItemKey, Position

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sequences:
    """What users did with the items of one type, oldest first. `days` and `times_s` are of each value of `items`.

    Days compare within a row; times, where all lines have them, everywhere.
    """

    item_type: str
    users: Numbers  # of each row, as a place in Dataset.users
    items: Ragged  # places in Dataset.items[item_type]
    days: Numbers | None
    times_s: Numbers | None

    @property
    def clock(self) -> Numbers | None:
        """What tells the order of a row's items, and which are ties: times where they are known, else days."""
        return self.days if self.times_s is None else self.times_s


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole folder. `repeats`: interactions left out since the user had to do with the item before.

    `new_items`, by type, are kept out of all training (`data.split.keep_out`); a type that is missing has none.
    """

    users: Sequence[str]
    items: Mapping[str, Sequence[Upsert]]
    sequences: Mapping[str, Sequences]
    queries: Sequence[Query]
    repeats: int
    new_items: Mapping[str, Mask] = field(default_factory=dict)

    def known_items(self, item_type: str) -> Sequence[Upsert]:
        """All but the new ones: what training may look at."""
        return self._items_where(item_type, is_new=False)

    def later_items(self, item_type: str) -> Sequence[Upsert]:
        """The new ones: published once training is over."""
        return self._items_where(item_type, is_new=True)

    @property
    def new_lines(self) -> frozenset[int]:
        """Where the new items stand in the item files, counted from 0 over all of them."""
        return frozenset(item.source.position.offset for name in self.new_items for item in self.later_items(name))

    def _items_where(self, item_type: str, *, is_new: bool) -> Sequence[Upsert]:
        items = self.items[item_type]
        new = self.new_items.get(item_type, np.zeros(len(items), np.bool_))
        return [items[place] for place in np.flatnonzero(new == is_new).tolist()]

    def texts(self, item_type: str) -> list[str]:
        """What is embedded of each item."""
        return [event_text(item) for item in self.items[item_type]]


@dataclass(slots=True)
class _Columns:
    """Interactions of one type as they are read. `places`: file and line of each."""

    users: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    days: list[int | None] = field(default_factory=list)
    times_s: list[int | None] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


class _Place(NamedTuple):
    type: str
    row: int


def read_dataset(folder: Path) -> Dataset:
    """DataError where a file is missing or a line is wrong."""
    items, known = _read_items(folder)
    users: dict[str, int] = {}
    columns: dict[str, _Columns] = {name: _Columns() for name in items}
    for place, line in _lines(folder, "interactions"):
        found = parse_interaction(line, place)
        at = _known(known, found.item, place)
        _add(columns[at.type], found, users.setdefault(found.user, len(users)), at.row, place)
    queries = []
    for place, line in _lines(folder, "queries", is_needed=False):
        query = parse_query(line, place)
        for key in query.items:
            _known(known, key, place)
        queries.append(query)
    sequences, repeats = {}, 0
    for name, column in columns.items():
        if column.users:
            sequences[name], repeated = _sequences(name, column)
            repeats += repeated
    return Dataset(list(users), items, sequences, queries, repeats)


def data_files(folder: Path, stem: str) -> list[Path]:
    """In the order in which their lines count."""
    return sorted(path for path in folder.glob(f"{stem}*") if path.name.endswith((".jsonl", ".jsonl.gz")))


def _read_items(folder: Path) -> tuple[dict[str, list[Upsert]], dict[ItemKey, _Place]]:
    items: dict[str, list[Upsert]] = {}
    known: dict[ItemKey, _Place] = {}
    now_us = time.time_ns() // 1_000
    for number, (place, line) in enumerate(_lines(folder, "items")):
        event = check(decode_line(line, Position("data", 0, number), now_us))
        if isinstance(event, Rejected):
            raise DataError(f"{place}: {event.message} [{event.reason}]; an item line has type, id and title at least")
        if not isinstance(event, Upsert):
            raise DataError(f"{place}: deletions and windows do not belong to a data folder; remove the line")
        if event.embedding is not None:
            raise DataError(f"{place}: embedding: the recipe's embedder makes them all, from text; leave the field out")
        if event.key in known:
            raise DataError(f"{place}: {event.key} stands in an earlier line too; keep one of them")
        rows = items.setdefault(event.key.type, [])
        known[event.key] = _Place(event.key.type, len(rows))
        rows.append(event)
    return items, known


def _lines(folder: Path, stem: str, *, is_needed: bool = True) -> Iterator[tuple[str, bytes]]:
    """(file and line, line) of all files of that stem, by name."""
    files = data_files(folder, stem)
    if not files and is_needed:
        raise DataError(f"{folder} has no {stem}*.jsonl or {stem}*.jsonl.gz; docs/data.md describes the folder")
    for path in files:
        for number, line in read_lines(str(path)):
            yield f"{path}, line {number}", line


def _known(known: Mapping[ItemKey, _Place], key: ItemKey, place: str) -> _Place:
    found = known.get(key)
    if found is None:
        raise DataError(f"{place}: item {key} is in no items file; add it there, or leave the line out")
    return found


def _add(column: _Columns, found: Interaction, user: int, row: int, place: str) -> None:
    """DataError where lines of one type differ in what they say of time."""
    if column.users and (column.days[0] is None, column.times_s[0] is None) != (
        found.day is None,
        found.time_s is None,
    ):
        raise DataError(
            f"{place}: day or time: all lines of type {found.item.type} have the same of the two, or none has any; "
            f"{column.places[0]} has another"
        )
    column.users.append(user)
    column.items.append(row)
    column.days.append(found.day)
    column.times_s.append(found.time_s)
    column.places.append(place)


def _sequences(item_type: str, column: _Columns) -> tuple[Sequences, int]:
    """Rows in the order in which users first appear, and how many repeats were left out."""
    users, items = np.array(column.users, np.int64), np.array(column.items, np.int64)
    order = np.argsort(users, kind="stable")
    firsts = np.unique(users[order] * (int(items.max()) + 1) + items[order], return_index=True)[1]
    kept = order[np.sort(firsts)]
    days, times_s = _column(column.days, kept), _column(column.times_s, kept)
    owners = users[kept]
    for what, moments in (("day", days), ("time", times_s)):
        if moments is not None:
            back = np.flatnonzero((owners[1:] == owners[:-1]) & (moments[1:] < moments[:-1]))
            if len(back):
                raise DataError(
                    f"{column.places[kept[back[0] + 1]]}: {what} is before that of the user's line above "
                    f"({column.places[kept[back[0]]]}); sort a user's lines of a type, oldest first"
                )
    row_users, lengths = np.unique(owners, return_counts=True)
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    ragged = Ragged(items[kept].astype(np.int32), offsets)
    return Sequences(item_type, row_users, ragged, days, times_s), len(users) - len(kept)


def _column(values: Sequence[int | None], kept: Numbers) -> Numbers | None:
    return None if values[0] is None else np.array(values, np.int64)[kept]
