"""The process that publishes for a catalog worker: killed, stopped, fenced or left alone, it costs nothing but time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neo_runtime.ingest.assigner import GROUP_PREFIX
from tests.kit import brokers, changes, fold
from tests.kit.brokers import Topics
from tests.kit.changes import PROTOBUF, Change
from tests.kit.workers import CatalogWorker, kafka_worker, until

pytestmark = pytest.mark.kafka

KILLS = 6


@pytest.fixture
def worker(bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path) -> Iterator[CatalogWorker]:
    with kafka_worker(tmp_path, model_folder, bootstrap, topics, max_batch="20") as started:
        started.start()
        yield started


def senders(worker: CatalogWorker) -> list[int]:
    assert worker.process is not None
    found = subprocess.run(
        ["pgrep", "-P", str(worker.process.pid), "-f", "neo_runtime.ingest.sender"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    return [int(pid) for pid in found.stdout.split()]


def lives(pid: int) -> bool:
    """A zombie does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")


def say(bootstrap: str, topics: Topics, some: list[Change]) -> None:
    brokers.send(bootstrap, topics.items, [changes.record(change, PROTOBUF) for change in some])


def assert_all_is_told(worker: CatalogWorker, bootstrap: str, topics: Topics, said: list[Change]) -> None:
    """Every outcome on the topic, none that never was, and each item's newest state last."""
    worker.catch_up(bootstrap, topics)
    expected = fold.Fold(sorted(said, key=lambda change: change.key.type))
    fold.assert_holds_fold(worker.reader, expected)
    published = brokers.read_topic(bootstrap, topics.assignments)
    assert fold.assigned(published) == expected.assignments()
    told = Counter(map(fold.assignment, published))
    assert told.keys() == expected.told.keys()
    assert told >= expected.told, "at least once"
    assert "Traceback" not in worker.log()


def test_killed_at_random_instants_it_is_started_anew_and_nothing_is_lost(
    worker: CatalogWorker, bootstrap: str, topics: Topics
) -> None:
    rng = random.Random(61)
    said = changes.random_changes(61, 1_800, tombstones=True)
    part = len(said) // KILLS
    for turn in range(KILLS):
        applied = sum(worker.counters().values()) + rng.randrange(part // 2)
        publisher = threading.Thread(target=say, args=(bootstrap, topics, said[turn * part : (turn + 1) * part]))
        publisher.start()
        worker.wait(
            lambda applied=applied: sum(worker.counters().values()) > applied and worker.outbox(), "unpublished work"
        )
        worker.wait(lambda: senders(worker), "a sender")
        for pid in senders(worker):
            os.kill(pid, signal.SIGKILL)
        publisher.join(60)
    assert_all_is_told(worker, bootstrap, topics, said)
    assert len(senders(worker)) == 1
    assert worker.logged("broker is away")[0]["error"] == "publishing: the sender has ended"
    assert worker.stop() == 0, worker.log()


def test_it_ends_with_its_worker_however_that_ends(worker: CatalogWorker, bootstrap: str, topics: Topics) -> None:
    (sender,) = senders(worker)
    worker.kill()
    until(lambda: not lives(sender), "an end of the sender", worker.log)
    worker.start()
    (sender,) = senders(worker)
    say(bootstrap, topics, changes.random_changes(62, 300, tombstones=True))
    worker.wait(worker.outbox, "something to publish")
    worker.kill()
    until(lambda: not lives(sender), "an end of the sender in the middle of its work", worker.log)
    worker.start()
    (sender,) = senders(worker)
    assert worker.stop() == 0, worker.log()
    assert not lives(sender)


def test_signals_to_everything_are_for_the_worker_to_hear(
    worker: CatalogWorker, bootstrap: str, topics: Topics
) -> None:
    (sender,) = senders(worker)
    os.kill(sender, signal.SIGINT)
    os.kill(sender, signal.SIGTERM)
    said = changes.random_changes(63, 100, tombstones=True)
    say(bootstrap, topics, said)
    assert_all_is_told(worker, bootstrap, topics, said)
    assert senders(worker) == [sender]
    assert worker.process is not None
    os.killpg(worker.process.pid, signal.SIGINT)
    assert worker.exit_code() == 0, worker.log()
    assert not lives(sender)
    assert "Traceback" not in worker.log()


def test_while_it_hangs_events_are_applied(worker: CatalogWorker, bootstrap: str, topics: Topics) -> None:
    (sender,) = senders(worker)
    said = changes.random_changes(64, 1_200, tombstones=True)
    os.kill(sender, signal.SIGSTOP)
    say(bootstrap, topics, said)
    worker.read_up_to(brokers.end_offsets(bootstrap, topics.items))
    assert worker.outbox() > len(said) // 2
    os.kill(sender, signal.SIGCONT)
    assert_all_is_told(worker, bootstrap, topics, said)
    assert senders(worker) == [sender]
    os.kill(sender, signal.SIGSTOP)
    assert worker.stop() == 0, worker.log()
    assert not lives(sender)


def test_fenced_by_another_producer_the_worker_ends_with_one_line(
    worker: CatalogWorker, bootstrap: str, topics: Topics
) -> None:
    (sender,) = senders(worker)
    name = GROUP_PREFIX + topics.assignments
    with closing(KafkaProducer(bootstrap_servers=bootstrap, transactional_id=name)) as other:
        other.init_transactions()
        say(bootstrap, topics, [Change("film/f1")])
        assert worker.exit_code() == 1, worker.log()
    (line,) = [line for line in worker.log().splitlines() if not line.startswith("{")]
    assert line.startswith("neo: another assigner has taken over"), line
    assert line.endswith("[SUPERSEDED]"), line
    assert brokers.read_topic(bootstrap, topics.assignments) == []
    assert not lives(sender)
