"""A refused record goes back to its topic byte for byte, and is applied once its cause is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from neo_runtime.ingest.replay import REPLAYED
from tests.kit import brokers, changes, processes
from tests.kit.brokers import Record, Topics
from tests.kit.workers import kafka_worker

pytestmark = pytest.mark.kafka


def test_a_replayed_record_is_refused_again_as_a_new_letter_that_counts(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    bad = Record(b"film/bad", b"\xff{", [("content-type", b"application/json"), ("trace", b"x")], 0)
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
    assert (second.key, second.value, second.headers[:2]) == (first.key, first.value, first.headers)
    assert second.headers[2] == (REPLAYED, b"1")
