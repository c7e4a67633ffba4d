"""The embedding stage before an assigner: shared by processes, killed, and still every event once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.config import DEMO_MODEL
from neo_runtime.embed.load import load_embedder
from neo_runtime.ingest.embedding import ORIGIN
from neo_runtime.ingest.event import JSON, decode, encode
from neo_runtime.types import ItemKey, Position
from tests.kit import brokers, processes
from tests.kit.brokers import Record, Topics
from tests.kit.workers import kafka_worker, until

pytestmark = pytest.mark.kafka
ITEMS, PARTITIONS = 120, 3


@contextmanager
def stage(folder: Path, name: str, bootstrap: str, topics: Topics) -> Iterator[subprocess.Popen[bytes]]:
    """One member: small batches, and a group that notices its death soon."""
    env = {
        "NEO_KAFKA_BOOTSTRAP": bootstrap, "NEO_ITEMS_TOPIC": topics.items, "NEO_EMBEDDED_TOPIC": embedded(topics),
        "NEO_PARTITIONS": str(PARTITIONS), "NEO_MAX_EMBEDDING_BATCH": "8", "NEO_SESSION_SECONDS": "6",
    }  # fmt: skip
    log = folder / f"{name}.log"
    process = processes.start("embed", "run", log=log, env=env)
    try:
        yield process
    finally:
        code = processes.stop(process)
    assert code in (0, -9), log.read_text()


def embedded(topics: Topics) -> str:
    return f"{topics.items}.embedded"


def upsert(number: int, version: int) -> Upsert:
    key = ItemKey("film", f"f{number}")
    source = RawRecord(Position("", 0, 0), None, None)
    title, about = f"Film {number} of robots", f"Version {version}: robots alone in space, and a war about love."
    return Upsert(key, 1_000_000 * (version + 1), title, about, {"year": 1950 + number % 50}, 0.5, None, "", source)


def record(number: int, version: int) -> Record:
    said = encode(upsert(number, version), JSON)
    return Record(said.key, said.value, [*said.headers, ("trace", b"%d" % version)], number % PARTITIONS)


def test_members_share_the_work_and_one_that_is_killed_loses_and_doubles_nothing(
    bootstrap: str, topics: Topics, tmp_path: Path
) -> None:
    brokers.make_topic(bootstrap, topics.items, partitions=PARTITIONS)
    odd = [
        Record(b"film/undecodable", b"{", [("content-type", b"application/json")], 0),
        Record(b"film/f1", None, [], 1),
    ]
    with stage(tmp_path, "first", bootstrap, topics) as first, stage(tmp_path, "second", bootstrap, topics):
        sent = brokers.send(bootstrap, topics.items, [record(number, 0) for number in range(ITEMS)])

        def arrived() -> list[RawRecord]:
            try:
                found = brokers.read_topic(bootstrap, embedded(topics))
            except AssertionError:  # not made yet
                return []
            return [
                RawRecord(Position(r.topic, r.partition, r.offset), r.key, r.value, tuple(r.headers), 0) for r in found
            ]

        until(
            lambda: len(arrived()) >= 10, "first events with embeddings", lambda: (tmp_path / "first.log").read_text()
        )
        first.kill()
        sent += brokers.send(bootstrap, topics.items, [record(number, 1) for number in range(ITEMS)])
        sent += brokers.send(bootstrap, topics.items, odd)
        until(lambda: len(arrived()) >= len(sent), "all events", lambda: (tmp_path / "second.log").read_text())
        time.sleep(1.0)  # for what would come twice
        found = arrived()
    origins = [dict(r.headers)[ORIGIN] for r in found]
    assert sorted(origins) == sorted(f"{p.topic}[{p.partition}]@{p.offset}".encode() for p in sent), "each once"
    for partition in range(PARTITIONS):
        offsets = [int(dict(r.headers)[ORIGIN].rpartition(b"@")[2]) for r in found if r.position.partition == partition]
        assert offsets == sorted(offsets), "a key's events keep their order"
    embedder = load_embedder(f"lexical:{DEMO_MODEL / 'embedder'}")
    events = [event for event in map(decode, found) if isinstance(event, Upsert)]
    assert len(events) == 2 * ITEMS
    for event in events[::17]:
        version = int(dict(event.source.headers)["trace"] or b"")
        said = upsert(int(event.key.id[1:]), version)
        assert (event.title, event.event_time_us, event.attributes) == (said.title, said.event_time_us, said.attributes)
        assert event.embedding_model == embedder.name
        assert event.embedding is not None
        assert np.allclose(event.embedding, embedder.embed([event_text(said)])[0], atol=1e-5)
    untouched = [r for r in found if not r.value or r.value == b"{"]
    assert sorted((r.key, r.value) for r in untouched if r.value) == [(b"film/undecodable", b"{")]
    assert [(r.key, r.value) for r in untouched if r.value is None] == [(b"film/f1", None)]


def test_an_assigner_behind_the_stage_holds_all_items_and_names_what_it_refused(
    bootstrap: str, topics: Topics, tmp_path: Path
) -> None:
    brokers.make_topic(bootstrap, topics.items, partitions=PARTITIONS)
    with (
        stage(tmp_path, "stage", bootstrap, topics),
        kafka_worker(tmp_path, DEMO_MODEL, bootstrap, topics, embedded_topic=embedded(topics)) as worker,
    ):
        brokers.send(bootstrap, topics.items, [record(number, 0) for number in range(30)])
        brokers.send(
            bootstrap, topics.items, [Record(b"film/undecodable", b"{", [], 0), Record(b"film/f3", None, [], 0)]
        )
        worker.start("--embedded")
        worker.wait(lambda: worker.counters().get("deleted") == 1, "the deletion, the last of its partition", 120)
        worker.wait(lambda: worker.counters().get("upserted") == 30, "all items", 120)
        with worker.reader.store.read() as txn:
            ((_, letter),) = txn.dead_letters()
        assert (letter.topic, letter.reason) == (embedded(topics), "UNDECODABLE")
        assert ORIGIN in dict(letter.headers)
        assert worker.stop() == 0
