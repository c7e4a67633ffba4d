"""A refused record goes back to its topic byte for byte, and is applied once its cause is mended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import RawRecord, Rejected
from neo_runtime.ingest.replay import REPLAYED
from neo_runtime.types import Position
from tests.kit import brokers, changes, processes, tiny
from tests.kit.brokers import Record, Topics
from tests.kit.workers import kafka_worker

pytestmark = pytest.mark.kafka


def test_a_replayed_record_is_refused_again_as_a_new_letter_that_counts(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    bad = Record(b"film/bad", b"\xff{", [("content-type", b"application/json"), ("trace", b"x"), ("trace", b"y")], 0)
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        worker.start()
        brokers.send(bootstrap, topics.items, [bad, changes.record(changes.Change("film/good"))])
        worker.catch_up(bootstrap, topics)
        done = processes.neo(
            "catalog", "dead-letters", "replay", "--reason", "UNDECODABLE", "--yes", "--catalog", str(worker.catalog),
            env={"NEO_KAFKA_BOOTSTRAP": bootstrap},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "put back 1" in done.stdout
        worker.wait(lambda: worker.counters().get("dead_letters") == 2, "a second letter")
        with worker.reader.store.read() as txn:
            first, second = [letter for _, letter in txn.dead_letters()]
    original, back = [record for record in brokers.read_topic(bootstrap, topics.items) if record.key == bad.key]
    assert (back.key, back.value) == (original.key, original.value) == (bad.key, bad.value)
    assert list(back.headers) == [*bad.headers, (REPLAYED, b"1")]
    assert (second.reason, second.headers) == (first.reason, list(back.headers))


def test_a_record_is_not_put_back_into_a_topic_that_is_gone(bootstrap: str, topics: Topics, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    made = Catalog.create(folder, tiny.codebooks())
    made.apply([Rejected(RawRecord(Position(topics.items, 0, 0), b"film/a", b"{", (), 1), "UNDECODABLE", "why")])
    made.close()
    done = processes.neo(
        "catalog", "dead-letters", "replay", "0", "--yes", "--catalog", str(folder), "--kafka", bootstrap
    )  # fmt: skip
    assert done.returncode != 0
    assert "does the topic exist" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_record_goes_back_to_its_partition_with_its_time_and_does_not_overtake_what_was_said_since(
    bootstrap: str, topics: Topics, tmp_path: Path
) -> None:
    """Whatever partitioner its producer had: another partition's order says nothing of this key's."""
    said = {"item": {"itemType": "film", "itemId": "a"}, "upserted": {"title": "Old"}}
    value, headers, times = json.dumps(said).encode(), [("content-type", b"application/json")], (1_000, 2_000)
    brokers.make_topic(bootstrap, topics.items, partitions=3)
    sent = brokers.send(
        bootstrap, topics.items, [Record(b"film/a", value, headers, partition, times[0]) for partition in range(3)]
    )
    folder = tmp_path / "c"
    made = Catalog.create(folder, tiny.codebooks())
    made.apply([
        Rejected(RawRecord(place, b"film/a", value, tuple(headers), times[0] * 1_000), "EMBEDDING_MISSING", "why")
        for place in sent
    ])  # fmt: skip
    newer = RawRecord(Position(topics.items, 1, sent[1].offset + 1), b"film/a", b"", (), times[1] * 1_000)
    made.apply([replace(tiny.upsert("film/a"), event_time_us=times[1] * 1_000, source=newer)])
    made.close()
    listed = processes.neo("catalog", "dead-letters", "list", "--json", "--catalog", str(folder))
    assert [row["changed_since"] for row in json.loads(listed.stdout)["dead_letters"]] == [False, True, False]
    done = processes.neo(
        "catalog", "dead-letters", "replay", "--all", "--yes", "--catalog", str(folder), "--kafka", bootstrap
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of them" in done.stdout
    found = [(r.partition, r.timestamp, r.value) for r in brokers.read_topic(bootstrap, topics.items)]
    assert found == [(partition, times[0], value) for partition in (0, 0, 1, 1, 2, 2)]


def test_a_record_whose_partition_is_gone_stays(bootstrap: str, topics: Topics, tmp_path: Path) -> None:
    brokers.make_topic(bootstrap, topics.items)
    folder = tmp_path / "c"
    made = Catalog.create(folder, tiny.codebooks())
    made.apply([Rejected(RawRecord(Position(topics.items, 4, 0), b"film/a", b"{", (), 1), "UNDECODABLE", "why")])
    made.close()
    done = processes.neo(
        "catalog", "dead-letters", "replay", "0", "--yes", "--catalog", str(folder), "--kafka", bootstrap
    )  # fmt: skip
    assert done.returncode == 1
    assert "partition 4" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
