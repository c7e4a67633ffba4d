"""The catalog worker through stops, restarts and a broker that is away: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neo_runtime.ingest.broker import PRODUCER_OPTIONS
from neo_runtime.ingest.local_kafka import LocalKafka
from neo_runtime.types import ItemKey
from tests.kit import brokers, changes, fold
from tests.kit.brokers import Record, Topics
from tests.kit.changes import PROTOBUF, Bad, Change, Said
from tests.kit.workers import CatalogWorker, catalog_worker, kafka_worker

pytestmark = pytest.mark.kafka

GIVEN_UP_S = PRODUCER_OPTIONS["delivery_timeout_ms"] / 1_000 + 2
CUT_SHORT = Bad(Record(b"film/bad", b"{cut", [], changes.PARTITIONS["film"]), "UNDECODABLE")


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that may be hurt. It has an address and does not run yet."""
    broker = LocalKafka(tmp_path_factory.mktemp("fragile-kafka"), port=brokers.quiet_port())
    yield broker
    broker.kill()


def records(said: list[Said]) -> list[Record]:
    return [x.record if isinstance(x, Bad) else changes.record(x, PROTOBUF) for x in said]


def assert_holds_and_told_all(worker: CatalogWorker, bootstrap: str, topics: Topics, said: list[Said]) -> None:
    worker.catch_up(bootstrap, topics)
    expected = fold.Fold(said)
    fold.assert_equals_fold(worker.reader, expected)
    assert fold.assigned(brokers.read_topic(bootstrap, topics.assignments)) == expected.assignments()
    letters = brokers.read_topic(bootstrap, topics.dead_letters)
    origins = {dict(letter.headers)["__connect.errors.offset"] for letter in letters}
    assert len(origins) == expected.counts["dead_letters"]


def assert_says_little(worker: CatalogWorker) -> None:
    """Neither tracebacks nor Kafka's own lines about every attempt."""
    assert "Traceback" not in worker.log()
    entries = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    assert [entry for entry in entries if entry["logger"].split(".")[0] not in ("neo_runtime", "workers")] == []


def test_sigterm_ends_in_order_and_a_restart_goes_on_where_it_stopped(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    said: list[Said] = [*changes.random_changes(7, 900, tombstones=True)]
    said[100:100] = said[500:500] = [CUT_SHORT]
    with kafka_worker(tmp_path, model_folder, bootstrap, topics, max_batch="20") as worker:
        worker.start()
        for part in (said[:500], said[500:]):
            brokers.send(bootstrap, topics.items, records(part))
            assert worker.stop() == 0, worker.log()
            worker.start()
        assert_holds_and_told_all(worker, bootstrap, topics, said)
        assert len(worker.logged("stopped")) == 2
        before = worker.counters()
        assert worker.stop() == 0, worker.log()
        worker.start()
        worker.catch_up(bootstrap, topics)
        assert worker.counters() == before
        assert_says_little(worker)


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(
    fragile: LocalKafka, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    with kafka_worker(tmp_path, model_folder, fragile.bootstrap, topics) as worker:
        worker.start(wait=False)
        worker.wait(lambda: worker.logged("broker is away"), "a line about the broker")
        time.sleep(1.5)  # several attempts
        assert len(worker.logged("broker is away")) == 1, worker.log()
        assert worker.stop() == 0, worker.log()

        worker.start(wait=False)
        worker.wait(lambda: len(worker.logged("broker is away")) == 2, "a line about the broker")
        fragile.start()
        worker.wait(lambda: worker.logged("ready"), "a ready worker")
        assert len(worker.logged("broker is away")) == 2, worker.log()
        assert len(worker.logged("broker is back")) == 1, worker.log()
        brokers.send(fragile.bootstrap, topics.items, [changes.record(Change("film/first"))])
        worker.catch_up(fragile.bootstrap, topics)
        assert worker.reader.item(ItemKey("film", "first"))
        assert worker.stop() == 0, worker.log()
        assert_says_little(worker)


def test_a_broker_killed_in_mid_stream_and_long_away_loses_nothing(
    fragile: LocalKafka, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    bootstrap = fragile.start()
    said: list[Said] = [*changes.random_changes(8, 900, tombstones=True)]
    said[60:60] = said[450:450] = said[800:800] = [CUT_SHORT]

    def publish() -> None:
        with brokers.producing(bootstrap) as producer:
            under_way = []
            for number, record in enumerate(records(said)):
                under_way.append(producer.send(topics.items, **record._asdict()))
                if number % 20 == 0:
                    time.sleep(0.02)
            for future in under_way:
                future.get(timeout=90)

    with kafka_worker(tmp_path, model_folder, bootstrap, topics, max_batch="20") as worker:
        worker.start()
        publisher = threading.Thread(target=publish)
        publisher.start()
        worker.wait(lambda: worker.reader.state().generation >= 5 and worker.outbox(), "records on their way both ways")
        brokers.kill_settled(fragile)
        killed = time.monotonic()
        worker.wait(lambda: worker.logged("broker is away"), "a line about the broker")
        time.sleep(max(0.0, killed + GIVEN_UP_S - time.monotonic()))
        fragile.start()
        worker.wait(lambda: worker.logged("broker is back"), "the broker's return")
        publisher.join(120)
        assert not publisher.is_alive()
        assert_holds_and_told_all(worker, bootstrap, topics, said)
        away, back = (len(worker.logged(f"broker is {where}")) for where in ("away", "back"))
        assert away == back <= 2, worker.log()  # twice where what was under way runs out of time after the return
        assert_says_little(worker)
        assert worker.stop() == 0, worker.log()


def start_with_three_items(worker: CatalogWorker, bootstrap: str, topics: Topics) -> None:
    worker.start()
    brokers.send(bootstrap, topics.items, [changes.record(Change(f"film/f{number}")) for number in range(3)])
    worker.catch_up(bootstrap, topics)


def test_an_items_topic_made_anew_is_refused_with_one_line(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        start_with_three_items(worker, bootstrap, topics)
        assert worker.stop() == 0
        brokers.make_anew(bootstrap, topics.items, 3)
        brokers.send(bootstrap, topics.items, [changes.record(Change("film/of-the-new-topic"))])
        assert_refused(worker, topics)
        assert worker.reader.item(ItemKey("film", "of-the-new-topic")) is None


def test_an_items_topic_made_anew_under_a_running_worker_is_refused(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        start_with_three_items(worker, bootstrap, topics)
        brokers.make_anew(bootstrap, topics.items, 3)
        assert worker.exit_code() == 1, worker.log()
        assert_one_line(worker, topics)


def assert_refused(worker: CatalogWorker, topics: Topics) -> None:
    worker.start(wait=False)
    assert worker.exit_code() == 1, worker.log()
    assert_one_line(worker, topics)


def assert_one_line(worker: CatalogWorker, topics: Topics) -> None:
    lines = [line for line in worker.log().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, "\n".join(lines[-30:])
    line = lines[0]
    assert line.startswith("neo: "), line
    assert line.endswith("[OFFSET_OUT_OF_RANGE]"), line
    assert f"{topics.items}[0]" in line
    assert "made anew" in line


def test_a_topic_that_deletes_by_age_is_followed_with_a_warning(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    brokers.make_topic(bootstrap, topics.items, policy="delete")
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        worker.start()
        (warning,) = worker.logged("topic forgets items: set cleanup.policy to compact")
        assert warning["topic"] == topics.items
        without_key = Record(None, changes.json_value(Change("film/f1")), [])  # a compacted topic takes none
        brokers.send(bootstrap, topics.items, [without_key, changes.record(Change("film/f2"))])
        worker.catch_up(bootstrap, topics)
        assert worker.reader.item(ItemKey("film", "f2"))
        (letter,) = brokers.read_topic(bootstrap, topics.dead_letters)
        assert letter.key is None
        assert letter.value == without_key.value
        assert dict(letter.headers)["neo.errors.reason"] == b"MISSING_FIELD"
        assert worker.stop() == 0


def test_two_workers_on_one_catalog_are_one_too_many(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        worker.start()
        (tmp_path / "second").mkdir()
        with catalog_worker(tmp_path / "second", model_folder) as second:
            second.env = worker.env
            second.start(wait=False)
            assert second.exit_code() == 1, second.log()
            (line,) = [line for line in second.log().splitlines() if not line.startswith("{")]
        assert "another process is writing catalog" in line
        assert worker.stop() == 0
