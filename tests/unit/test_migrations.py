"""A catalog that schema 1 wrote is brought to this runtime's schema by the first writer, whole or not at all."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from neo_runtime.catalog import migrations
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.inspect import inspect, verify
from neo_runtime.catalog.records import SCHEMA_VERSION, Assignment
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.errors import CatalogError
from neo_runtime.types import ItemKey
from tests.kit import dump, tiny

GOLDEN = Path(__file__).parents[1] / "contracts" / "goldens" / "catalogs" / "schema-1.tar.gz"
"""Three generations, a base of the first, and three assignments that wait for Kafka, two of them of `film/late`."""
LATE = ItemKey("film", "late")
ITEMS = {"film": 7, "book": 5, "artist": 6}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path / "c", filter="data")
    return tmp_path / "c"


def test_readers_of_an_older_schema_say_that_a_writer_has_to_come_first(old: Path) -> None:
    with pytest.raises(CatalogError, match="start its catalog worker"):
        open_reader(old)
    assert inspect(old).schema_version == 1


def test_the_first_writer_migrates_and_rebuilds_the_trie_from_the_tables(old: Path) -> None:
    with closing(Catalog.open(old)) as catalog:
        view = catalog.reader.view()
        assert view.generation == 3
        for name, count in ITEMS.items():
            with catalog.store.read() as txn:
                bearers = dict(txn.sids(name))
            assert {sid: view.types[name].items_on(sid) for sid in bearers} == {
                sid: tuple(item for _, item in found) for sid, found in bearers.items()
            }
            assert len(view.types[name]) == count
        assert not (old / "segments" / "film-1.seg").exists(), "segments of another format are of no use"
        catalog.apply([tiny.upsert("film/new", time=20, offset=30)])
        assert len(catalog.reader.view().types["film"]) == 8
    assert verify(old) == []
    reader, _ = open_reader(old)
    with closing(reader.store):
        assert len(reader.view().types["film"]) == 8
        assert reader.description.schema_version == SCHEMA_VERSION
        assert reader.offsets() == {("test", 0): 7}


def test_what_waits_for_kafka_becomes_each_items_newest_state(old: Path) -> None:
    with closing(Catalog.open(old)) as catalog:
        waiting = catalog.outbox()
        records = [(number, record.key, record.record) for number, record in waiting if isinstance(record, Assignment)]
        late, gone = catalog.reader.item(LATE), catalog.reader.item(ItemKey("book", "b1"))
    assert late
    assert gone
    assert gone.deleted
    assert records == [(1, ItemKey("book", "b1"), gone), (2, LATE, late)]


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = migrations.STEPS[1]

    def failing(txn: Transaction) -> None:
        step(txn)
        raise RuntimeError("cut short")

    with closing(Store(old, writable=True)) as store:
        before = dump.tables(store)
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "STEPS", {**migrations.STEPS, 1: failing})
            with pytest.raises(RuntimeError):
                migrations.migrate(store)
        assert dump.tables(store) == before
    Catalog.open(old).close()


def test_a_rebuild_that_was_cut_short_is_done_by_the_next_start(old: Path) -> None:
    with closing(Store(old, writable=True)) as store:
        migrations.migrate(store)
    with closing(Catalog.open(old)) as catalog:
        assert len(catalog.reader.view().types["artist"]) == 6


def test_every_older_schema_has_a_step() -> None:
    assert sorted(migrations.STEPS) == list(range(1, SCHEMA_VERSION))


def test_a_newer_schema_is_refused_by_readers_and_writers(old: Path) -> None:
    with closing(Store(old, writable=True)) as store, store.write() as txn:
        txn.put_description(msgspec.structs.replace(txn.description(), schema_version=SCHEMA_VERSION + 1))
    for opening in (open_reader, Catalog.open):
        with pytest.raises(CatalogError, match="use the runtime that wrote it"):
            opening(old)
