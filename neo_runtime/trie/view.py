"""TrieView: the catalog's SIDs of one generation, as an immutable value. A swap is a pointer to another view."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from neo_runtime.trie.delta import Changes, Delta
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.live import LiveTrie, Wanted, intersection
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.rank import Words, only
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import TypeView, rows_of
from neo_runtime.types import ItemKey


@dataclass(frozen=True, slots=True)
class Restriction:
    """What a request may emit: only `item_types` (none named: all), only `allow` (None: all), nothing of `deny`, only
    what passes every predicate and may be shown at `now_us` (None: whatever the availability) in `region`.

    `allow` and `deny` map an item to its packed SID in the view's generation. On a shared SID only permitted items
    are named.
    """

    item_types: Collection[str] = ()
    allow: Mapping[ItemKey, int] | None = None
    deny: Mapping[ItemKey, int] = field(default_factory=dict)
    predicates: Collection[Predicate] = ()
    now_us: int | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrieView:
    """All item types at one generation."""

    generation: int
    types: Mapping[str, TypeView]

    def apply(self, generation: int, changes: Mapping[str, Changes]) -> TrieView:
        """The next view. Generations only grow."""
        assert generation > self.generation
        types = {name: view.apply(changes[name]) if name in changes else view for name, view in self.types.items()}
        return TrieView(generation, types)

    def restrict(self, restriction: Restriction = Restriction()) -> RestrictedView:
        """Exactly the trie of the permitted items, at every prefix. Without availability where `now_us` is None."""
        names = list(restriction.item_types) or list(self.types)
        return RestrictedView(
            self.generation, {name: _restricted(self.types[name], name, restriction) for name in names}
        )


def now_us() -> int:
    """The clock of availability windows."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True, eq=False)
class RestrictedView:
    """One generation under one request's constraints."""

    generation: int
    tries: Mapping[str, LiveTrie]

    @property
    def is_empty(self) -> bool:
        return all(trie.is_empty for trie in self.tries.values())


def _restricted(view: TypeView, name: str, wanted: Restriction) -> LiveTrie:
    allow = None if wanted.allow is None else {key.id: sid for key, sid in wanted.allow.items() if key.type == name}
    deny = {key.id: sid for key, sid in wanted.deny.items() if key.type == name}
    segments: tuple[Segment, Delta] = (view.base, view.delta)
    base, delta = (intersection(_bitmaps(segment, wanted, allow)) for segment in segments)
    return LiveTrie.of(view, Wanted(base, delta, (_places(view.base, deny), _places(view.delta, deny))))


def _bitmaps(segment: Segment | Delta, wanted: Restriction, allow: Mapping[str, int] | None) -> Iterator[Words]:
    filters = segment.filters if isinstance(segment, Segment) else segment
    if wanted.now_us is not None:
        available = filters.available(wanted.now_us, wanted.region)
        if available is not None:
            yield available
    for predicate in wanted.predicates:
        yield filters.words(predicate)
    if allow is not None:
        yield only(_places(segment, allow), len(segment.rows))


def _places(segment: Segment | Delta, items: Mapping[str, int]) -> Ints:
    """The rows of items with their SIDs, ascending."""
    if not items:
        return np.empty(0, np.int32)
    ids = np.array(list(items), object)
    leaves = segment.levels.find(np.fromiter(items.values(), np.uint64, len(items)))
    found = leaves >= 0
    return np.array(sorted(_rows(segment, zip(ids[found], leaves[found].tolist(), strict=True))), np.int32)


def _rows(segment: Segment | Delta, items: Iterable[tuple[str, int]]) -> Iterator[int]:
    for item_id, leaf in items:
        for row in rows_of(segment, leaf):
            if segment.row_id(row) == item_id:
                yield row
