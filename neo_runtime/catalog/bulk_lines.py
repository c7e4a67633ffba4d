"""Many item lines at a time as columns, and what a bulk load says of its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from neo_runtime.types import Attribute

FOLDER = "bulk.tmp"
"""Inside the catalog's, for what a bulk load sorts aside."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


class Values(NamedTuple):
    """Value i belongs to entry `entries[i]`."""

    name: str
    entries: Sequence[int]
    values: list[Attribute]


@dataclass(slots=True)
class Lines:
    """Some upserts as columns, one entry each, in the order of their files.

    Their encoding is right; whether the values keep the rules is still to be seen. `places[i]` is entry i's place among
    the lines of its chunk, `embeddings[i]` little-endian float32 or None: bytes that stand in the line itself, or a
    view of what was given beside it.
    """

    places: list[int] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    attributes: list[dict[str, Attribute]] = field(default_factory=list)
    popularities: list[float] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    embeddings: list[bytes | memoryview | None] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    _schemas: dict[tuple[str, ...], Sequence[int]] | None = None
    _values: list[Values] | None = None

    def schemas(self) -> dict[tuple[str, ...], Sequence[int]]:
        """Entries whose attributes have the same names, in the same order."""
        if self._schemas is None:
            all_names = list(map(tuple, self.attributes))
            distinct = set(all_names)
            if len(distinct) == 1:
                self._schemas = {all_names[0]: range(len(all_names))}
            else:
                found: dict[tuple[str, ...], list[int]] = {names: [] for names in distinct}
                for entry, names in enumerate(all_names):
                    found[names].append(entry)
                self._schemas = dict(found)
        return self._schemas

    def values(self) -> list[Values]:
        """All attributes, those of one name and schema together."""
        if self._values is None:
            attributes = self.attributes
            self._values = [
                Values(name, entries, [attributes[entry][name] for entry in entries])
                for names, entries in self.schemas().items()
                for name in names
            ]
        return self._values

    def of_type(self, name: str) -> Lines:
        """The upserts of one type."""
        if self.types.count(name) == len(self.types):
            return self
        found = Lines()
        entries = [entry for entry, item_type in enumerate(self.types) if item_type == name]
        for column in _COLUMNS:
            values = getattr(self, column)
            getattr(found, column).extend([values[entry] for entry in entries])
        return found

    def keep(self, entries: Sequence[int]) -> None:
        """Only these upserts, in their order."""
        for column in _COLUMNS:
            values = getattr(self, column)
            values[:] = [values[entry] for entry in entries]
        self._schemas = self._values = None


_COLUMNS = tuple(name for name in Lines.__slots__ if name not in ("_schemas", "_values"))


class Phases:
    """What a load is busy with. `show` begins a bar."""

    def __init__(self, show: Callable[[str], Progress] = lambda what: lambda done, total: None) -> None:
        self._show, self._bars = show, dict[str, Progress]()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds up under `name`. Phases do not nest."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def advance(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._show(name)
        self._bars[name](done, total)
