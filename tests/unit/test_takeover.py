"""What a catalog takes from another one, what it knows to be its own, and what it forgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from neo_runtime.catalog import forgetting, takeover
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Event, ItemRecord, Stored
from neo_runtime.catalog.records import Assignment
from neo_runtime.types import ItemKey
from tests.kit import dump, tiny

KEY = ItemKey("film", "f1")
LOG = ("items", 0)
SAID_BY_OTHERS = {("assignments", 0): 1}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = Catalog.create(tmp_path / "c", tiny.codebooks())
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Catalog]:
    """Of the same codebooks, on another host."""
    made = Catalog.create(tmp_path / "other", tiny.codebooks())
    yield made
    made.close()


def upsert(item: str, offset: int, time: int, **changed: int) -> Event:
    event = tiny.upsert(item, time=time, **changed)  # type: ignore[arg-type]
    return in_log(event, offset)


def in_log(event: Event, offset: int) -> Event:
    return dataclasses.replace(event, source=tiny.raw(offset, *LOG))


def said(catalog: Catalog) -> list[Stored]:
    """What its followers hear."""
    origin = catalog.reader.description.catalog_id
    return [
        Stored(outgoing.key, outgoing.record, origin, outgoing.generation, tiny.raw(9, "assignments"))
        for _, outgoing in catalog.outbox()
        if isinstance(outgoing, Assignment)
    ]


def items(catalog: Catalog) -> dict[str, dump.Rows]:
    tables = dump.tables(catalog.store)
    return {name: tables[name] for name in ("items", "sid_items")}


def work(catalog: Catalog, publish: bool = True) -> None:
    """Upserts, a move, deletions, an item that comes back."""
    catalog.apply([upsert(f"film/f{n}", n, 5) for n in range(8)], {LOG: 8}, publish=publish)
    catalog.apply(
        [
            upsert("film/f1", 8, 6, version=1),
            in_log(tiny.delete("film/f2", time=6), 9),
            in_log(tiny.delete("film/f3", time=6, tombstone=True), 10),
            upsert("film/f3", 11, 7, version=2),
            in_log(tiny.delete("film/never", time=6), 12),
        ],
        {LOG: 13}, publish=publish,
    )  # fmt: skip


def test_a_follower_holds_the_same_bytes_and_publishes_nothing(catalog: Catalog, other: Catalog) -> None:
    work(catalog)
    applied = other.apply(said(catalog), SAID_BY_OTHERS)
    assert (applied.upserted, applied.deleted) == (10, 3)
    assert items(other) == items(catalog)
    assert other.outbox() == []
    for sid in range(8**3):
        assert other.reader.view().types["film"].items_on(sid) == catalog.reader.view().types["film"].items_on(sid)


def test_hearing_it_again_from_any_place_on_changes_nothing(catalog: Catalog, other: Catalog) -> None:
    work(catalog)
    heard = said(catalog)
    other.apply(heard, SAID_BY_OTHERS)
    before = items(other)
    for start in range(len(heard)):
        applied = other.apply(heard[start:], {})
        assert (applied.upserted, applied.deleted) == (0, 0)
        assert items(other) == before


def test_what_it_said_itself_does_not_end_its_own_assigning(catalog: Catalog) -> None:
    takeover.start_assigning(catalog, "items", {LOG: 0})
    work(catalog)
    before = items(catalog)
    catalog.apply(said(catalog)[:3], SAID_BY_OTHERS)
    assert takeover.assigns(catalog)
    assert items(catalog) == before


def test_what_another_one_said_ends_it(catalog: Catalog, other: Catalog) -> None:
    takeover.start_assigning(catalog, "items", {LOG: 0})
    work(other)
    catalog.apply(said(other)[:1], SAID_BY_OTHERS)
    assert not takeover.assigns(catalog)


def test_what_it_said_in_a_generation_that_it_lost_counts_as_another_ones(catalog: Catalog) -> None:
    """A power cut took the last commit, but its records were out."""
    takeover.start_assigning(catalog, "items", {LOG: 0})
    work(catalog)
    newest = said(catalog)[-1]
    lost = Stored(newest.key, newest.record, newest.origin, newest.generation + 1, newest.source)
    catalog.apply([lost], SAID_BY_OTHERS)
    assert not takeover.assigns(catalog)


def test_a_null_leaves_no_trace_of_an_item(catalog: Catalog) -> None:
    work(catalog)
    catalog.apply([Stored(KEY, None, "other", 9, tiny.raw(9, "assignments"))], SAID_BY_OTHERS)
    assert catalog.reader.item(KEY) is None
    assert len(catalog.reader.view().types["film"]) == 6
    assert catalog.reader.state().stats["film"].items == 6


@pytest.mark.parametrize("start", range(13))
def test_a_log_told_again_after_its_offsets_were_lost_changes_nothing(catalog: Catalog, start: int) -> None:
    work(catalog)
    before, sent = items(catalog), len(catalog.outbox())
    events = [
        *(upsert(f"film/f{n}", n, 5) for n in range(8)),
        upsert("film/f1", 8, 6, version=1),
        in_log(tiny.delete("film/f2", time=6), 9),
        in_log(tiny.delete("film/f3", time=6, tombstone=True), 10),
        upsert("film/f3", 11, 7, version=2),
        in_log(tiny.delete("film/never", time=6), 12),
    ]
    takeover.retract(catalog, {})
    takeover.start_assigning(catalog, "items", {LOG: start})
    catalog.apply(events[start:], {LOG: 13}, publish=True)
    assert items(catalog) == before
    assert catalog.outbox() == [], f"{sent} were told before, and nothing is told again"


def test_a_file_may_be_loaded_again_with_its_lines_in_another_order(catalog: Catalog) -> None:
    for time, line in ((5, 7), (6, 2)):
        event = tiny.upsert("film/f1", time=time, version=time)
        applied = catalog.apply([dataclasses.replace(event, source=tiny.raw(line, "file:films.jsonl"))])
        assert applied.upserted == 1


def test_what_files_brought_is_announced_once_in_pieces(
    catalog: Catalog, other: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "ANNOUNCED", 4)
    catalog.apply([tiny.upsert(item) for item in tiny.items(5)])
    work(catalog, publish=False)
    takeover.start_assigning(catalog, "items", {})
    rounds = 0
    while catalog.reader.state().unannounced is not None:
        takeover.announce(catalog)
        rounds += 1
    assert rounds == len(items(catalog)["items"]) // 4 + 1
    other.apply(said(catalog), SAID_BY_OTHERS)
    assert items(other) == items(catalog)
    catalog.acknowledge([number for number, _ in catalog.outbox()])
    takeover.announce(catalog)
    assert catalog.outbox() == []


def test_a_retraction_puts_items_back_and_forgets_what_waited(catalog: Catalog, other: Catalog) -> None:
    work(catalog)
    other.apply(said(catalog), SAID_BY_OTHERS)
    catalog.acknowledge([number for number, _ in catalog.outbox()])
    published = {key: catalog.reader.item(key) for key in (KEY, ItemKey("film", "f4"), ItemKey("film", "new"))}
    catalog.apply(
        [
            upsert("film/f1", 13, 9, version=2),
            in_log(tiny.delete("film/f4", time=9), 14),
            upsert("film/new", 15, 9),
        ],
        {LOG: 16}, publish=True,
    )  # fmt: skip
    assert takeover.unpublished(catalog) == published.keys()
    takeover.retract(catalog, published)
    assert items(catalog) == items(other)
    assert (catalog.outbox(), takeover.assigns(catalog)) == ([], False)
    assert len(catalog.reader.view().types["film"]) == len(other.reader.view().types["film"])


def test_assigning_begins_where_the_last_one_got_to(catalog: Catalog) -> None:
    catalog.apply([upsert("film/f1", 40, 5)], {LOG: 41, ("items", 1): 7})
    takeover.start_assigning(catalog, "items", {LOG: 12})
    assert catalog.reader.offsets() == {LOG: 12}
    assert takeover.assigns(catalog)


def test_deletions_are_forgotten_when_they_are_old_and_followers_forget_too(
    catalog: Catalog, other: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "EVERY_S", 0.0)
    monkeypatch.setattr(forgetting, "LOOKED_AT", 2)
    work(catalog)
    other.apply(said(catalog), SAID_BY_OTHERS)
    catalog.acknowledge([number for number, _ in catalog.outbox()])
    young = forgetting.Forgetting(catalog, 1e10, publish=True)
    old = forgetting.Forgetting(catalog, 3_600, publish=True)
    for _ in range(12):
        young.turn()
    assert catalog.outbox() == []
    for _ in range(12):
        old.turn()
    assert [key for key, _ in items(catalog)["items"]] == [b"film\0f%d" % n for n in (0, 1, 3, 4, 5, 6, 7)]
    forgotten = said(catalog)
    assert [(stored.key.id, stored.record) for stored in forgotten] == [("f2", None), ("never", None)]
    other.apply(forgotten, {})
    assert items(other) == items(catalog)


def test_a_state_is_older_only_within_its_own_log() -> None:
    record = ItemRecord("T", "", {}, 0.0, 1, False, 0, 0, 0.0, b"", "items", 0, 5)
    here = tiny.raw(4, "items", 0).position
    assert record.is_newer_than(here)
    assert not record.is_newer_than(here._replace(offset=5))
    assert not record.is_newer_than(here._replace(partition=1))
    assert not replace(record, source_topic="elsewhere").is_newer_than(here)
