"""What an answer may hold, by looking at every item: random catalogs and constraints, and a reference for them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Availability, Upsert
from neo_runtime.engine.api import Constraints
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.trie.predicate import Predicate, matches
from neo_runtime.trie.windows import Window, is_available
from neo_runtime.types import ItemKey
from tests.kit import tiny
from tests.kit.filters import ATTRIBUTES, CONDITIONS, PREDICATES

TYPES = {"film": (4, 4), "book": (3, 2, 2), "artist": (8,)}
KEYS = [ItemKey(name, f"{name[0]}{number}") for name in TYPES for number in range(7)]
HOUR_US = 3_600_000_000
NOW_US = time.time_ns() // 1_000
OPEN, OVER, LATER = Window(NOW_US - HOUR_US), Window(None, NOW_US - HOUR_US), Window(NOW_US + 1_000 * HOUR_US)
IN_NORWAY, IN_BOTH = Window(regions=("NO",)), Window(regions=("NO", "SE"))
WINDOWS = st.lists(st.sampled_from([OPEN, OVER, LATER, IN_NORWAY, IN_NORWAY, IN_BOTH]), max_size=2)
Tuple = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Told:
    """A catalog as a list of what is said of its items, the first part of it before a compaction."""

    policy: CollisionPolicy
    before: tuple[Upsert | Availability, ...]
    after: tuple[Upsert | Availability, ...]
    deleted: tuple[ItemKey, ...]

    def catalog(self, folder: Path) -> Catalog:
        made = Catalog.create(folder, tiny.codebooks(TYPES), policy=self.policy)
        made.apply(list(self.before))
        made.compact()
        made.apply([*self.after, *(tiny.delete(str(key), time=9) for key in self.deleted)])
        return made


@st.composite
def tellings(draw: st.DrawFn) -> Told:
    def upsert(key: ItemKey, time: int) -> Upsert:
        version, popularity = draw(st.integers(0, 3)), float(draw(st.integers(0, 3)))
        said = tiny.upsert(str(key), time=time, version=version, popularity=popularity)
        return replace(said, attributes=draw(ATTRIBUTES))

    def some(most: int, least: int = 0) -> list[ItemKey]:
        return draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=least, max_size=most))

    before: list[Upsert | Availability] = [upsert(key, 1) for key in some(len(KEYS), draw(st.sampled_from([0, 12])))]
    after: list[Upsert | Availability] = [upsert(key, 2) for key in some(6)]
    for said in (before, after):
        said += [
            Availability(key, 3, tuple(draw(WINDOWS)), False, tiny.raw())
            for key in some(8, draw(st.sampled_from([0, 4])))
        ]
    return Told(draw(st.sampled_from(CollisionPolicy)), tuple(before), tuple(after), tuple(some(4)))


@st.composite
def constraints(draw: st.DrawFn) -> Constraints:
    def often_none(most: int) -> frozenset[ItemKey]:
        return frozenset(draw(st.just([]) | st.lists(st.sampled_from(KEYS), max_size=most)))

    few = st.builds(lambda condition: Predicate(must_not=(condition,)), CONDITIONS)
    count = draw(st.sampled_from([0, 0, 1, 2]))
    return Constraints(
        item_types=tuple(draw(st.just([]) | st.lists(st.sampled_from(sorted(TYPES)), unique=True))),
        allow=draw(st.none() | st.just(often_none(12))) or None,
        deny=often_none(6),
        exclude_history=draw(st.booleans()),
        predicates=tuple(draw(st.lists(few | PREDICATES, min_size=count, max_size=count))),
        region=draw(st.sampled_from([None, "NO", "SE", "FI"])),
    )


class Reference:
    """A catalog's newest state, item by item."""

    def __init__(self, told: Told, catalog: Catalog) -> None:
        self.generation = catalog.reader.view().generation
        self._windows = {
            said.key: said.windows for said in (*told.before, *told.after) if isinstance(said, Availability)
        }
        self._homes: dict[Tuple, list[ItemKey]] = {}
        with catalog.store.read() as txn:
            for name in TYPES:
                for sid, bearers in txn.sids(name):
                    codes = tuple(int(code) for code in catalog.codebooks[name].space.unpack_one(sid))
                    keys = [ItemKey(name, item_id) for _, item_id in bearers]
                    self._homes[name, codes] = keys[:1] if told.policy is CollisionPolicy.CANONICAL else keys
        upserts = [said for said in (*told.before, *told.after) if isinstance(said, Upsert)]
        self._attributes = {said.key: said.attributes for said in upserts if said.key not in told.deleted}

    def knows(self, key: ItemKey) -> bool:
        return key in self._attributes

    def permitted(
        self, wanted: Constraints, history: Collection[ItemKey], named: Collection[ItemKey] = ()
    ) -> Mapping[Tuple, tuple[str, ...]]:
        """The tuples that may come, each with the ids on it, best first; `named`: in the answer already."""
        found = {}
        for place, keys in self._homes.items():
            ids = tuple(key.id for key in keys if key not in named and self._may_come(key, wanted, history))
            if ids:
                found[place] = ids
        return found

    def _may_come(self, key: ItemKey, wanted: Constraints, history: Collection[ItemKey]) -> bool:
        return (
            (not wanted.item_types or key.type in wanted.item_types)
            and (wanted.allow is None or key in wanted.allow)
            and key not in wanted.deny
            and not (wanted.exclude_history and key in history)
            and all(matches(predicate, self._attributes[key]) for predicate in wanted.predicates)
            and is_available(self._windows.get(key), NOW_US, wanted.region)
        )
