"""One process's use of an LMDB environment: resizes between transactions, short reads, slots, and what is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest
from prometheus_client import CollectorRegistry

from neo_runtime.catalog import store as store_module
from neo_runtime.catalog.gate import Gate
from neo_runtime.catalog.room import larger
from neo_runtime.catalog.store import MapGrownError, Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.catalog.usage import UsageCollector
from neo_runtime.errors import CatalogError, StorageError
from neo_runtime.observability import metrics
from tests.kit import stores

SMALL = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path, writable=True, map_size=SMALL)) as store:
        yield store


def test_reads_pass_a_gate_together_and_resizes_wait_for_them() -> None:
    gate, seen = Gate(), list[str]()

    def resize() -> None:
        with gate.alone() as is_alone:
            seen.append(f"alone {is_alone}")

    with gate.passing():
        resizing = threading.Thread(target=resize)
        resizing.start()
        while not gate._is_closed:
            time.sleep(0.001)
        with gate.passing():  # the same thread, or it would wait for itself
            seen.append("inside")
        with gate.alone() as is_alone:
            assert not is_alone, "this thread is inside"
    resizing.join(10)
    assert seen == ["inside", "alone True"]


def test_a_resize_gives_up_on_reads_that_stay() -> None:
    gate, leave, inside = Gate(), threading.Event(), threading.Event()

    def stay() -> None:
        with gate.passing():
            inside.set()
            leave.wait(10)

    staying = threading.Thread(target=stay)
    staying.start()
    inside.wait(10)
    with gate.alone(0.01) as is_alone:
        assert not is_alone
    leave.set()
    staying.join(10)
    with gate.alone() as is_alone:
        assert is_alone
    with gate.passing():
        pass


def test_maps_double_then_grow_by_quarters_in_whole_pages() -> None:
    assert larger(1 << 20) == 2 << 20
    assert larger(64 << 30) == 80 << 30
    assert larger((64 << 30) + 4_096) % 4_096 == 0


def test_the_map_grows_with_what_is_written_beside_threads_that_read(small: Store) -> None:
    stop, failures = threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            while not stop.wait(0.001):  # three that never rest may keep the interpreter from the writer for minutes
                stores.generation_of(small)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for generation in range(1, 40):
        small.transact(partial(stores.put, generation=generation, rows=40 * generation))
    stop.set()
    for reader in readers:
        reader.join(10)
    assert failures == []
    assert small.usage().map_bytes > SMALL
    small.transact(partial(stores.put, generation=40, rows=1))  # a write makes room for the next one as it begins
    usage = small.usage()
    assert usage.headroom_bytes >= store_module.HEADROOM_SHARE * usage.map_bytes


def test_a_transaction_larger_than_the_map_is_run_again_from_its_start(small: Store) -> None:
    runs = []

    def body(txn: Transaction) -> int:
        runs.append(len(txn.offsets()))
        stores.put(txn, 1, 10_000)
        return 7

    assert small.transact(body) == 7
    assert len(runs) > 2, "grew several times"
    assert set(runs) == {0}, "each run began with nothing of the one before"
    assert stores.generation_of(small) == 1


def test_a_write_that_met_a_full_map_left_nothing_and_works_the_next_time(small: Store) -> None:
    with pytest.raises(MapGrownError, match="repeat"), small.write() as txn:
        stores.put(txn, 1, 3_000)
    assert stores.generation_of(small) == 0
    with small.write() as txn:
        stores.put(txn, 1, 3_000)
    assert stores.generation_of(small) == 1


def test_a_map_that_cannot_grow_is_an_error_that_waits(small: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "has_address_space", lambda size: False)
        with pytest.raises(StorageError, match="cannot grow"):
            small.transact(lambda txn: stores.put(txn, 1, 3_000))
        assert stores.generation_of(small) == 0
        small.transact(lambda txn: stores.put(txn, 1, 3))
    small.transact(lambda txn: stores.put(txn, 2, 3_000))
    assert stores.generation_of(small) == 2


def test_a_transaction_that_is_over_holds_no_slot_and_cannot_be_used(small: Store) -> None:
    kept = []
    for _ in range(5):
        with small.read() as txn:
            assert small.usage().readers >= 1
            kept.append(txn)
    assert small.usage().readers == 0
    with pytest.raises(AttributeError):
        kept[0].state()


def test_long_reads_are_counted_by_place_and_said_once(small: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SLOW_READ_S", 0.0)
    place = f"{Path(__file__).stem}.{test_long_reads_are_counted_by_place_and_said_once.__name__}"
    counter = metrics.SLOW_READS.labels(place)
    before = counter._value.get()
    for _ in range(3):
        with small.read() as txn:
            txn.state()
    assert counter._value.get() == before + 3
    assert small._slow_places == {place}


class Panicking:
    """An environment whose last meta page could not be written: it begins nothing any more."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def begin(self, *, write: bool = False) -> Any:
        if write:
            raise lmdb.PanicError("mdb_txn_begin")
        return self._env.begin()


def test_an_environment_that_broke_is_opened_anew(small: Store) -> None:
    small.transact(lambda txn: stores.put(txn, 1))
    small.__dict__["_env"] = Panicking(small._env)
    with pytest.raises(StorageError, match="opened anew"):
        small.transact(lambda txn: stores.put(txn, 2))
    assert stores.generation_of(small) == 1
    small.transact(lambda txn: stores.put(txn, 2))
    assert stores.generation_of(small) == 2


def test_a_reader_that_came_while_the_tables_were_made_sees_them_when_they_are(tmp_path: Path) -> None:
    env = lmdb.open(str(tmp_path), max_dbs=2, lib_version=0)
    env.close()
    with pytest.raises(CatalogError, match="not made yet"):
        Store(tmp_path, writable=False)
    with lmdb.open(str(tmp_path), max_dbs=2, lib_version=0) as env:
        env.open_db(b"meta")
    with closing(Store(tmp_path, writable=False)) as early:
        with early.read() as txn:
            assert not txn.has("offsets")
        stores.finished(stores.start("write", tmp_path, SMALL, 0, 1))
        assert stores.generation_of(early) == 1


def test_what_is_measured_is_exported_and_a_closed_catalog_exports_nothing(small: Store) -> None:
    registry = CollectorRegistry()
    registry.register(UsageCollector(small.usage))
    assert registry.get_sample_value("neo_catalog_map_bytes") == SMALL
    assert {metric.name for metric in registry.collect()} == {name for name, _ in metrics.CATALOG_USAGE.values()}
    small.close()
    assert list(registry.collect()) == []


def test_usage_counts_pages_in_use_and_free_ones(small: Store) -> None:
    small.transact(lambda txn: stores.put(txn, 1, 600))
    full = small.usage()
    with small.write() as txn:
        for topic, partition in txn.offsets():
            txn.remove_offset(topic, partition)
    small.transact(lambda txn: stores.put(txn, 2, 1))
    empty = small.usage()
    assert empty.used_bytes - empty.free_bytes < (full.used_bytes - full.free_bytes) / 4
    assert empty.free_bytes > full.free_bytes
    assert full.disk_free_bytes > 0
