"""Assigners, standbys and replicas as processes of their own: one decides, and the others agree to the last byte."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.ingest.event import decode
from neo_runtime.ingest.source import KafkaSource, lag
from neo_runtime.v1.catalog_events_pb2 import SidAssigned
from tests.kit import brokers, changes, dump, fold, processes, tiny
from tests.kit.brokers import Topics
from tests.kit.changes import PROTOBUF, Change
from tests.kit.workers import CatalogWorker, kafka_worker

pytestmark = pytest.mark.kafka

SESSION_S = 6  # the least that a broker takes by default
TAKEOVER_S = 90.0


@dataclass
class Crew:
    """Catalog workers of one catalog, each as on a host of its own."""

    bootstrap: str
    topics: Topics
    folder: Path
    model: Path
    undo: ExitStack
    said: list[Change] = field(default_factory=list)

    def worker(self, name: str, role: str = "assigner") -> CatalogWorker:
        """Not started yet."""
        (self.folder / name).mkdir()
        return self.undo.enter_context(
            kafka_worker(
                self.folder / name, self.model, self.bootstrap, self.topics, role=role, max_batch="20",
                session_seconds=str(SESSION_S),
            )
        )  # fmt: skip

    def say(self, some: list[Change], pause_s: float = 0.0) -> None:
        """Publish; in small pieces where there is a pause."""
        self.said += some
        step = 20 if pause_s else len(some)
        for start in range(0, len(some), step):
            brokers.send(
                self.bootstrap, self.topics.items, [changes.record(x, PROTOBUF) for x in some[start : start + step]]
            )
            time.sleep(pause_s)

    def expected(self) -> fold.Fold:
        """A type's changes are on one partition, so the log orders them; types have nothing to do with each other."""
        return fold.Fold(sorted(self.said, key=lambda change: change.key.type))

    def assert_all_is_in(self, assigner: CatalogWorker) -> None:
        """In the assigner's catalog and on the topic; nowhere two items on one SID, no event with two outcomes."""
        assigner.catch_up(self.bootstrap, self.topics)
        expected = self.expected()
        fold.assert_holds_fold(assigner.reader, expected)
        published = brokers.read_topic(self.bootstrap, self.topics.assignments)
        assert fold.assigned(published) == expected.assignments()
        outcomes: dict[tuple[bytes, int, int], object] = {}
        for record in published:
            source = SidAssigned.FromString(record.value).source
            _, codes = fold.assignment(record)
            assert outcomes.setdefault((record.key, source.partition, source.offset), codes) == codes


def start_standby(worker: CatalogWorker) -> None:
    before = len(worker.logged("standing by"))
    worker.start(wait=False)
    worker.wait(lambda: len(worker.logged("standing by")) > before, "a standby")


def wait_for_takeover(standby: CatalogWorker) -> None:
    standby.wait(
        lambda: standby.log().rfind('"ready"') > standby.log().rfind('"standing by"'), "a takeover", TAKEOVER_S
    )


def kill_at_work(worker: CatalogWorker, events: int) -> None:
    """SIGKILL once it has applied so many more, at a moment when something of them is not published."""
    applied = sum(worker.counters().values()) + events
    worker.wait(lambda: sum(worker.counters().values()) > applied and worker.outbox(), "unpublished work")
    worker.kill()


def held(worker: CatalogWorker) -> dict[str, dump.Rows]:
    """Everything that is said of items, as bytes."""
    tables = dump.tables(worker.reader.store)
    return {name: tables[name] for name in ("items", "sid_items", "availability")}


def wait_for_equality(follower: CatalogWorker, assigner: CatalogWorker) -> None:
    follower.wait(lambda: held(follower) == held(assigner), "the assigner's items, byte for byte", TAKEOVER_S)
    views = follower.reader.view(), assigner.reader.view()
    assert {kind: len(view) for kind, view in views[0].types.items()} == {
        kind: len(view) for kind, view in views[1].types.items()
    }


@pytest.fixture
def crew(bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path) -> Iterator[Crew]:
    with ExitStack() as undo:
        yield Crew(bootstrap, topics, tmp_path, model_folder, undo)


@contextmanager
def saying(crew: Crew, some: list[Change], pause_s: float) -> Iterator[None]:
    """Publish beside what happens inside."""
    publisher = threading.Thread(target=crew.say, args=(some, pause_s))
    publisher.start()
    yield
    publisher.join(120)
    assert not publisher.is_alive()


def test_replicas_hold_the_assigners_items_whenever_and_from_wherever_they_start(crew: Crew) -> None:
    assigner, replica, killed = crew.worker("assigner"), crew.worker("replica", "replica"), crew.worker("r2", "replica")
    for worker in (assigner, replica, killed):
        worker.start()
    log = changes.random_changes(21, 900, tombstones=True)
    with saying(crew, log[:600], 0.02):
        killed.wait(lambda: killed.reader.state().generation >= 5, "a replica at work")
        killed.kill()
        taken = processes.neo("snapshot", "create", "--name", "a", "--json", env={"NEO_CATALOG": str(assigner.catalog)})
        assert taken.returncode == 0, taken.stderr
        killed.start()
    restored, late = crew.worker("restored", "replica"), crew.worker("late", "replica")
    root = str(assigner.catalog / "snapshots")
    back = processes.neo(
        "snapshot", "restore", "a", "--yes", "--snapshots", root, "--json", env={"NEO_CATALOG": str(restored.catalog)}
    )
    assert json.loads(back.stdout)["restored"], back.stderr
    restored.start()
    crew.say(log[600:])
    late.start()
    crew.assert_all_is_in(assigner)
    for worker in (replica, killed, restored, late):
        wait_for_equality(worker, assigner)
        assert worker.outbox() == 0
        assert worker.stop() == 0, worker.log()


def test_standbys_take_over_from_killed_assigners_without_a_lost_or_doubled_sid(crew: Crew) -> None:
    rng = random.Random(5)
    leader, other = crew.worker("one"), crew.worker("two")
    leader.start()
    log = changes.random_changes(22, 2_400, tombstones=True)
    for turn in range(3):
        start_standby(other)
        with saying(crew, log[turn * 800 : (turn + 1) * 800], 0.02):
            kill_at_work(leader, rng.randrange(60, 300))
            wait_for_takeover(other)
        crew.assert_all_is_in(other)
        leader, other = other, leader
    start_standby(other)
    wait_for_equality(other, leader)
    assert leader.stop() == 0, leader.log()
    wait_for_takeover(other)
    crew.say(changes.random_changes(23, 100, tombstones=True))
    crew.assert_all_is_in(other)
    assert "Traceback" not in leader.log() + other.log()


def test_a_paused_assigner_that_wakes_after_the_takeover_stops_and_does_no_harm(crew: Crew) -> None:
    paused, standby = crew.worker("paused"), crew.worker("standby")
    paused.start()
    start_standby(standby)
    log = changes.random_changes(24, 1_200, tombstones=True)
    with saying(crew, log[:800], 0.02):
        paused.wait(lambda: paused.reader.state().generation >= 10 and paused.outbox(), "something unpublished")
        assert paused.process is not None
        paused.process.send_signal(signal.SIGSTOP)
        wait_for_takeover(standby)
    crew.assert_all_is_in(standby)
    paused.process.send_signal(signal.SIGCONT)
    crew.say(log[800:])
    assert paused.exit_code() == 1, paused.log()
    assert "taken over" in paused.log().splitlines()[-1]
    assert "Traceback" not in paused.log()
    crew.assert_all_is_in(standby)
    start_standby(paused)
    wait_for_equality(paused, standby)


def test_what_an_assigner_committed_but_never_published_is_retracted(crew: Crew) -> None:
    first, second = crew.worker("first"), crew.worker("second")
    first.start()
    crew.say(changes.random_changes(25, 200, tombstones=True))
    first.catch_up(crew.bootstrap, crew.topics)
    assert first.stop() == 0
    crew.say(changes.random_changes(26, 200, tombstones=True))
    first.reader.store.close()  # a process opens a catalog once
    del first.reader
    commit_without_publishing(crew, first.catalog)
    second.start()
    crew.assert_all_is_in(second)
    start_standby(first)
    wait_for_equality(first, second)
    assert first.logged("retracted what was not published")
    assert first.outbox() == 0


def commit_without_publishing(crew: Crew, folder: Path) -> None:
    """As a crash leaves it; with an item that nobody else will ever hear of, and SIDs that the others will not give."""
    catalog = Catalog.open(folder)
    ghosts = [tiny.upsert(f"film/ghost{number}", time=changes.START_US, offset=number) for number in range(20)]
    catalog.apply(ghosts, publish=True)
    source = KafkaSource(crew.bootstrap, crew.topics.items, catalog.reader.offsets())
    while lag(source):
        records = source.poll(50, 1.0)
        positions = {record.position[:2]: record.position.offset + 1 for record in records}
        catalog.apply([decode(record) for record in records], positions, publish=True)
    source.close()
    assert len(catalog.outbox(1_000)) > 20
    catalog.close()


def test_a_replica_with_other_codebooks_ends_with_one_line(crew: Crew) -> None:
    assigner, replica = crew.worker("assigner"), crew.worker("replica", "replica")
    Catalog.create(replica.catalog, tiny.codebooks({"film": (4, 4)})).close()
    assigner.start()
    crew.say([Change("film/f1")])
    replica.start()
    assert replica.exit_code() == 1
    assert "codebook" in replica.log().splitlines()[-1]
    assert "Traceback" not in replica.log()


def test_what_was_loaded_from_a_file_reaches_the_replicas_and_old_deletions_leave_them(
    crew: Crew, tmp_path: Path
) -> None:
    assigner, replica = crew.worker("assigner"), crew.worker("replica", "replica")
    loaded = [Change(f"film/loaded{number}") for number in range(30)]
    (tmp_path / "films.jsonl").write_bytes(b"\n".join(map(changes.line, loaded)))
    done = processes.neo(
        "catalog",
        "load",
        str(tmp_path / "films.jsonl"),
        "--model",
        str(crew.model),
        env={"NEO_CATALOG": str(assigner.catalog)},
    )
    assert done.returncode == 0, done.stderr
    assigner.env["NEO_KEEP_DELETED_SECONDS"] = "3600"
    assigner.start()
    replica.start()
    replica.wait(lambda: len(held(replica)["items"]) == len(loaded), "the loaded items")
    wait_for_equality(replica, assigner)
    crew.say([Change("film/loaded0", 5, title=None), Change("film/loaded1", 6, "Changed")])
    replica.wait(lambda: len(held(replica)["items"]) == len(loaded) - 1, "a deletion of 2025 that leaves no trace")
    wait_for_equality(replica, assigner)
    with replica.reader.store.read() as txn:
        record = txn.item(loaded[1].key)
    assert record is not None
    assert record.title == "Changed"
