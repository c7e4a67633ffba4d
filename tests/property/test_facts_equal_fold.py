"""What a request may see of a catalog, by attributes, availability and region, against a fold of the events."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.catalog import batch as batch_module
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import Availability, Delete, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.trie import Restriction
from neo_runtime.trie.predicate import Condition, Equals, Predicate, matches
from neo_runtime.trie.windows import Window, is_available
from neo_runtime.types import ItemKey
from tests.kit import tiny

BOOKS = {"film": (4, 4)}
ITEMS = [f"film/{number}" for number in range(6)]
GENRES = ("war", "love")
OF_WAR = Predicate(must=(Condition("genre", Equals("war")),))
POLICIES = (CollisionPolicy.NEAREST_FREE, CollisionPolicy.SHARE)

upserts = st.builds(
    lambda item, time, genre, version: tiny.upsert(item, time=time, version=version, genre=genre),
    st.sampled_from(ITEMS), st.integers(1, 5), st.sampled_from(GENRES), st.integers(0, 1),
)  # fmt: skip
deletes = st.builds(lambda item, time: tiny.delete(item, time=time), st.sampled_from(ITEMS), st.integers(1, 5))
windows = st.none() | st.lists(
    st.builds(Window, st.none() | st.integers(0, 4), st.none() | st.integers(5, 9), st.sampled_from([(), ("at",)])),
    max_size=2,
).map(tuple)
said = st.builds(
    lambda item, time, found, tombstone: Availability(
        ItemKey.parse(item), time, None if tombstone else found, tombstone, tiny.raw()
    ),
    st.sampled_from(ITEMS), st.integers(1, 5), windows, st.booleans(),
)  # fmt: skip
events = upserts | upserts | deletes | said


@dataclass
class Known:
    """What the fold knows of an item."""

    time: int = 0
    genre: str | None = None
    """None: deleted, or never there."""
    said_at: int = 0
    windows: tuple[Window, ...] | None = None


def fold(log: list[Upsert | Delete | Availability]) -> dict[ItemKey, Known]:
    state = {ItemKey.parse(item): Known() for item in ITEMS}
    for event in log:
        known = state[event.key]
        if isinstance(event, Availability):
            if event.is_tombstone or event.event_time_us >= known.said_at:
                # Taken back, nothing is known: any later event counts again.
                known.said_at = 0 if event.windows is None else event.event_time_us
                known.windows = event.windows
        elif event.event_time_us >= known.time:
            known.time = event.event_time_us
            known.genre = str(event.attributes["genre"]) if isinstance(event, Upsert) else None
    return state


def seen(reader: CatalogReader, predicates: tuple[Predicate, ...], now_us: int, region: str | None) -> set[str]:
    """Ids on all leaves that a request could reach."""
    trie = reader.view().restrict(Restriction((), None, {}, predicates, now_us, region)).tries["film"]
    nodes = trie.root()
    for depth in range(trie.space.levels):
        nodes = trie.children(depth, nodes).nodes
    return {item for row in range(len(nodes.base)) for item in trie.leaf_items(nodes, row)}


def assert_equals(reader: CatalogReader, state: dict[ItemKey, Known]) -> None:
    for predicates in ((), (OF_WAR,)):
        for now_us in (0, 4, 5, 20):
            for region in (None, "at", "de"):
                wanted = {
                    key.id
                    for key, known in state.items()
                    if known.genre is not None
                    and all(matches(predicate, {"genre": known.genre}) for predicate in predicates)
                    and is_available(known.windows, now_us, region)
                }
                assert seen(reader, predicates, now_us, region) == wanted


@given(st.lists(events, min_size=1, max_size=25), st.integers(1, 5), st.sampled_from(POLICIES), st.booleans())
@settings(max_examples=60)
def test_what_a_request_sees_equals_the_fold_through_batches_compaction_and_reopening(
    log: list[Upsert | Delete | Availability], size: int, policy: CollisionPolicy, compacts: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Catalog.create(Path(folder) / "c", tiny.codebooks(BOOKS), policy=policy, named=(OF_WAR,))
        for start in range(0, len(log), size):
            made.apply(log[start : start + size])
            seen(made.reader, (OF_WAR,), 4, "at")  # what was evaluated of one generation is carried on to the next
            if compacts and start % 2:
                made.compact()
        assert_equals(made.reader, fold(log))
        made.close()
        reopened, _ = open_reader(Path(folder) / "c")
        assert_equals(reopened, fold(log))
        reopened.store.close()


def test_availability_of_items_that_do_not_come_is_forgotten_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "MIN_WAITING", 3)
    made = Catalog.create(tmp_path / "c", tiny.codebooks(BOOKS))
    for number in range(5):
        made.apply([Availability(ItemKey("film", f"to-come-{number}"), 1, (), False, tiny.raw())])
    with made.store.read() as txn:
        assert [key.id for _, key in txn.waiting()] == ["to-come-2", "to-come-3", "to-come-4"]
        assert txn.entries("availability") == 3
        assert txn.state().counters["availability_forgotten"] == 2
    made.apply([tiny.upsert("film/to-come-1"), tiny.upsert("film/to-come-4")])
    assert seen(made.reader, (), 1, None) == {"to-come-1"}, "the other one came with what was said of it: nowhere"
    with made.store.read() as txn:
        assert [key.id for _, key in txn.waiting()] == ["to-come-2", "to-come-3"]
    made.close()


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ((Window(5, 5),), "a window ends before it begins"),
        ((Window(None, None, ("",)),), "a region is empty"),
        ((Window(),) * 65, "windows has 65 entries, over the limit of 64"),
    ],
)
def test_a_window_that_cannot_be_is_a_dead_letter(tmp_path: Path, windows: tuple[Window, ...], message: str) -> None:
    made = Catalog.create(tmp_path / "c", tiny.codebooks(BOOKS))
    applied = made.apply([Availability(ItemKey("film", "a"), 1, windows, False, tiny.raw())])
    with made.store.read() as txn:
        ((_, letter),) = txn.dead_letters()
    assert (applied.dead_letters, letter.message) == (1, message)
    made.close()
