"""A crash at every single step from a batch to its acknowledgement: what was not told is told again, in its order."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.outgoing import KafkaRecord, OutgoingEncoder, Parcel
from neo_runtime.ingest.publisher import Publisher, Refusal
from neo_runtime.ingest.source import MemorySource, Offsets
from tests.kit import changes, fold
from tests.kit.brokers import Record
from tests.kit.changes import Bad, Change, Said

BAD = Bad(Record(b"film/bad", b"{cut", []), "UNDECODABLE")
LOG: list[Said] = [
    Change("film/f1", 1), Change("film/f2", 2), BAD, Change("film/f1", 3, version=1), Change("book/b1", 4),
    Change("film/f2", 5, title=None), BAD, Change("film/f1", 6, title=None, tombstone=True), Change("film/f1", 2),
    Change("film/f2", 7, version=2), Change("film/f1", 8, version=2), BAD,
]  # fmt: skip
BATCH = 4
ASSIGNMENTS = "assignments"
ENCODER = OutgoingEncoder(ASSIGNMENTS, Changelog(fold.BOOKS, "0a1b2c3d"))


class Crash(BaseException):
    """The process is gone: nothing that runs after it may do anything."""


@dataclass
class Steps:
    """Counts the steps of a run, and lets none happen from number `crash_at` on."""

    crash_at: int
    taken: int = 0
    crashed: str = ""
    """Name of the step that did not happen."""

    def reach(self, name: str) -> None:
        self.taken += 1
        if self.taken >= self.crash_at:
            self.crashed = self.crashed or name
            raise Crash


@dataclass
class Sink:
    """A broker, and the way there. Transactions land at once, or, in order, only as somebody waits for an answer."""

    landed: list[KafkaRecord]
    steps: Steps
    at_once: bool
    travelling: list[Delivery] = field(default_factory=list)

    def send(self, parcels: list[Parcel]) -> Delivery:
        self.steps.reach("before a transaction is sent")
        delivery = Delivery([ENCODER.unpack(parcel) for parcel in parcels], self)
        self.travelling.append(delivery)
        if self.at_once:
            self.land()
        self.steps.reach("after a transaction was sent")
        return delivery

    def is_busy(self) -> bool:
        return False

    def land(self) -> None:
        if self.travelling:
            delivery = self.travelling.pop(0)
            self.landed += delivery.records
            delivery.end = len(self.landed)
            delivery.answered = True

    def give_up(self) -> None:
        self.travelling.clear()

    def close(self) -> None:
        self.travelling.clear()


@dataclass
class Delivery:
    records: list[KafkaRecord]
    sink: Sink
    answered: bool = False
    end: int = -1

    def wait(self, timeout_s: float) -> bool:
        if not self.answered:
            self.sink.steps.reach("before an answer")
            self.sink.land()
        return self.answered

    def refusal(self) -> Refusal | None:
        return None

    def ends(self) -> Offsets:
        return {(ASSIGNMENTS, 0): self.end}


class EndingSource(MemorySource):
    """Ends the loop when everything was read and told."""

    def end_with(self, stop: threading.Event, told: Callable[[], bool]) -> None:
        self._stop, self._told = stop, told

    def poll(self, max_records: int, timeout_s: float) -> list[Any]:
        records = super().poll(max_records, timeout_s)
        if not records and self._told():
            self._stop.set()
        return records


@contextmanager
def watched(steps: Steps, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write and every commit of the catalog is a step."""
    write = Store.write

    @contextmanager
    def watched_write(store: Store) -> Iterator[Transaction]:
        with write(store) as txn:
            yield txn
            steps.reach("before a commit")
        steps.reach("after a commit")

    with patch.context() as within:
        within.setattr(Store, "write", watched_write)
        for name in ("put_item", "put_bearers", "put_log", "put_offset", "put_state", "put_outgoing",
                     "put_dead_letter", "remove_outgoing"):  # fmt: skip
            within.setattr(Transaction, name, before(steps, name, getattr(Transaction, name)))
        yield


def before(steps: Steps, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def stepped(*arguments: Any) -> Any:
        steps.reach(name)
        return method(*arguments)

    return stepped


def log_of(said: list[Said]) -> MemorySource:
    source = MemorySource()
    for x in said:
        record = x.record if isinstance(x, Bad) else changes.record(x)
        source.append(record.key, record.value, record.headers, timestamp_us=(record.timestamp_ms or 0) * 1_000)
    return source


def follow(catalog: Catalog, sink: Sink, *, batch: int = BATCH) -> None:
    """One life of a worker, up to its end or its crash."""
    stop = threading.Event()
    source = EndingSource(log_of(LOG).log, catalog.reader.offsets())
    source.end_with(stop, lambda: not catalog.outbox())
    IngestLoop(catalog, source, Publisher(catalog, sink), max_batch=batch).run(stop)


def told(records: list[KafkaRecord]) -> list[tuple[object, ...]]:
    """What each record says; the generation of an assignment is not part of it."""
    rows: list[tuple[object, ...]] = []
    for record in records:
        if record.topic == ASSIGNMENTS:
            rows.append((record.topic, *fold.assignment(record)))
        else:
            rows.append((record.topic, record.key, record.value, dict(record.headers)["__connect.errors.offset"]))
    return rows


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "catalog"
    Catalog.create(folder, fold.BOOKS).close()
    return folder


@pytest.fixture(scope="module")
def whole(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What a run without a crash tells."""
    folder = tmp_path_factory.mktemp("whole") / "catalog"
    shutil.copytree(empty, folder)
    catalog = Catalog.open(folder)
    sink = Sink([], Steps(1_000_000), at_once=True)
    follow(catalog, sink)
    fold.assert_equals_fold(catalog.reader, fold.Fold(LOG))
    catalog.close()
    rows = told(sink.landed)
    assert {str(row[1]): row[2] for row in rows if row[0] == ASSIGNMENTS} == fold.Fold(LOG).assignments()
    assert [row[3] for row in rows if row[0] != ASSIGNMENTS] == [b"2", b"6", b"11"]
    return rows


@pytest.mark.parametrize(
    ("at_once", "batch_after"), [(True, 3), (False, BATCH)], ids=["they land at once", "they land late"]
)
def test_a_crash_at_any_step_loses_nothing_and_keeps_the_order(
    at_once: bool, batch_after: int, empty: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()
    for crash_at in range(1, 1_000):
        folder = tmp_path / str(crash_at)
        shutil.copytree(empty, folder)
        steps = Steps(crash_at)
        landed: list[KafkaRecord] = []
        catalog = Catalog.open(folder)
        with suppress(Crash), watched(steps, monkeypatch):
            follow(catalog, Sink(landed, steps, at_once))
        catalog.close()
        assert_recovers(folder, landed, whole, batch_after, f"crash {steps.crashed!r} at step {crash_at}")
        shutil.rmtree(folder)
        if not steps.crashed:
            break
        names.add(steps.crashed)
    assert not steps.crashed, "the run has no end"
    assert {
        "before a commit",
        "after a commit",
        "put_offset",
        "remove_outgoing",
        "after a transaction was sent",
    } <= names


def assert_recovers(folder: Path, landed: list[KafkaRecord], whole: list[Any], batch: int, when: str) -> None:
    """A new process tells everything from the first record on that was not acknowledged, and nothing before."""
    before_crash = told(landed)
    assert before_crash == whole[: len(before_crash)], when
    catalog = Catalog.open(folder)
    waiting = catalog.outbox()
    first = waiting[0][0] if waiting else catalog.reader.state().outgoing
    assert first <= len(before_crash), f"{when}: acknowledged what never landed"
    sink = Sink([], Steps(1_000_000), at_once=True)
    follow(catalog, sink, batch=batch)
    assert told(sink.landed) == whole[first:], when
    assert catalog.outbox() == [], when
    fold.assert_equals_fold(catalog.reader, fold.Fold(LOG))
    catalog.close()
