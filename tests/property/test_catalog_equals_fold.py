"""The catalog against a fold of its event log, over random upserts, moves, deletes, re-deliveries and re-orderings."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.catalog import catalog as catalog_module
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import Delete, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.trie.type_view import rows_of
from neo_runtime.types import ItemKey
from tests.kit import tiny

TYPES = {"film": (4, 4), "book": (3, 2, 2)}
BOOKS = tiny.codebooks(TYPES)


@dataclass
class Known:
    """The dict model's record of an item."""

    time: int
    title: str | None
    """None: deleted."""


def fold(events: list[Upsert | Delete]) -> dict[ItemKey, Known]:
    """Latest event time wins, later in the log among equals; a tombstone always wins."""
    state: dict[ItemKey, Known] = {}
    for event in events:
        known = state.get(event.key)
        if isinstance(event, Upsert):
            if known is None or event.event_time_us >= known.time:
                state[event.key] = Known(event.event_time_us, event.title)
        elif known is None:
            if not event.is_tombstone:
                state[event.key] = Known(event.event_time_us, None)
        elif event.is_tombstone or event.event_time_us >= known.time:
            state[event.key] = Known(max(event.event_time_us, known.time), None)
    return state


@st.composite
def events(draw: st.DrawFn) -> Upsert | Delete:
    item = draw(st.sampled_from([f"{kind}/{number}" for kind in TYPES for number in range(8)]))
    time = draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["upsert", "upsert", "upsert", "delete", "tombstone"]))
    if kind == "upsert":
        version = draw(st.integers(0, 2))
        title = draw(st.sampled_from(["a", "b"]))
        return tiny.upsert(item, time=time, title=title, version=version, popularity=draw(st.integers(0, 3)))
    return tiny.delete(item, time=time, tombstone=kind == "tombstone")


logs = st.lists(events(), min_size=1, max_size=40)


def numbered(log: list[Upsert | Delete]) -> list[Upsert | Delete]:
    return [replace(event, source=tiny.raw(offset)) for offset, event in enumerate(log)]


def assert_equals_fold(reader: CatalogReader, state: dict[ItemKey, Known], policy: CollisionPolicy) -> None:
    view = reader.view()
    live = {key for key, known in state.items() if known.title is not None}
    reachable = set()
    with reader.store.read() as txn:
        for kind in TYPES:
            leaves = {sid: [item for _, item in bearers] for sid, bearers in txn.sids(kind)}
            for sid, ids in leaves.items():
                shown = ids[:1] if policy is CollisionPolicy.CANONICAL else ids
                assert view.types[kind].items_on(sid) == tuple(shown)
                reachable |= {ItemKey(kind, item) for item in ids}
                if policy is CollisionPolicy.NEAREST_FREE:
                    assert len(ids) == 1
            assert len(view.types[kind]) == len(leaves)
        stats = txn.state().stats
    assert reachable == live
    assert sum(entry.items for entry in stats.values()) == len(live)
    for key, known in state.items():
        record = reader.item(key)
        assert record is not None
        assert record.event_time_us == known.time
        assert record.deleted == (known.title is None)
        assert record.deleted or record.title == known.title


@given(logs, st.lists(st.integers(1, 9), min_size=1, max_size=8), st.sampled_from(list(CollisionPolicy)))
@settings(max_examples=60, deadline=None)
def test_state_equals_the_fold_however_the_log_is_cut(
    log: list[Upsert | Delete], cuts: list[int], policy: CollisionPolicy
) -> None:
    log = numbered(log)
    with tempfile.TemporaryDirectory() as folder:
        made = Catalog.create(Path(folder) / "c", BOOKS, policy=policy)
        old_views, start, turn = [], 0, 0
        while start < len(log):
            batch = log[start : start + cuts[turn % len(cuts)]]
            made.apply(batch, {("test", 0): start + len(batch)})
            if turn % 2:  # a broker delivers again what was committed: nothing may change
                before = made.reader.view()
                assert made.apply(batch).replayed == len(batch)
                assert made.reader.view() is before
            if turn % 3 == 2:
                made.compact()
            view = made.reader.view()
            old_views.append((view, {kind: dict(_leaves(view, kind)) for kind in TYPES}))
            start, turn = start + len(batch), turn + 1
        assert_equals_fold(made.reader, fold(log), policy)
        for view, leaves in old_views:
            assert {kind: dict(_leaves(view, kind)) for kind in TYPES} == leaves
        made.close()
        reopened, _ = open_reader(Path(folder) / "c")
        assert_equals_fold(reopened, fold(log), policy)
        reopened.store.close()


def _leaves(view: object, kind: str) -> list[tuple[int, tuple[str, ...]]]:
    segment = view.types[kind].compacted()  # type: ignore[attr-defined]
    return [
        (int(sid), tuple(segment.row_id(row) for row in rows_of(segment, leaf)))
        for leaf, sid in enumerate(segment.keys)
    ]


@given(logs)
@settings(max_examples=30, deadline=None)
def test_sids_do_not_depend_on_how_the_log_is_cut_into_batches(log: list[Upsert | Delete]) -> None:
    log = numbered(log)
    results = []
    for size in (1, 3, len(log)):
        with tempfile.TemporaryDirectory() as folder:
            made = Catalog.create(Path(folder) / "c", BOOKS)
            for start in range(0, len(log), size):
                made.apply(log[start : start + size])
            results.append({kind: _leaves(made.reader.view(), kind) for kind in TYPES})
            made.close()
    assert results[0] == results[1] == results[2]


def test_a_full_code_space_refuses_the_item_and_changes_nothing(tmp_path: Path) -> None:
    made = tiny.catalog(tmp_path / "c", 0, types={"film": (2, 2)})
    applied = made.apply([tiny.upsert(f"film/{number}") for number in range(5)])
    assert (applied.upserted, applied.dead_letters) == (4, 1)
    with made.store.read() as txn:
        ((_, letter),) = txn.dead_letters()
    assert letter.reason == "CODEBOOK_FULL"
    assert len(made.reader.view().types["film"]) == 4
    made.close()


def test_a_reader_in_another_environment_follows_through_compactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "COMPACT_LEAVES", 5)
    made = tiny.catalog(tmp_path / "c", 0)
    for number in range(60):
        made.apply([tiny.upsert(f"film/{number}", offset=number)])
        if number % 3 == 0:
            made.apply([tiny.delete(f"film/{number // 2}", time=5)])
    with made.store.read() as txn:
        assert txn.base() is not None
        assert txn.entries("log") < 10
    made.close()
    reader, _ = open_reader(tmp_path / "c")
    assert len(reader.view().types["film"]) == reader.state().stats["film"].sids
