"""The embedding stage before an assigner: shared by processes, killed, and still every event once."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.producer.producer_batch import ProducerBatch
from numpy.typing import NDArray

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.config import DEMO_MODEL, Settings
from neo_runtime.embed.load import load_embedder
from neo_runtime.errors import StartupError
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.ingest.embedding import GROUP_PREFIX, ORIGIN, EmbeddingStage
from neo_runtime.ingest.event import JSON, decode, encode
from neo_runtime.types import ItemKey, Position
from tests.kit import brokers, processes
from tests.kit.brokers import Record, Topics
from tests.kit.workers import kafka_worker, until

pytestmark = pytest.mark.kafka
ITEMS, PARTITIONS = 120, 3


@contextmanager
def stage(
    folder: Path, name: str, bootstrap: str, topics: Topics, *options: str, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One member: small batches, and a group that notices its death soon."""
    env = {
        "NEO_KAFKA_BOOTSTRAP": bootstrap, "NEO_ITEMS_TOPIC": topics.items, "NEO_EMBEDDED_TOPIC": embedded(topics),
        "NEO_PARTITIONS": str(PARTITIONS), "NEO_MAX_EMBEDDING_BATCH": "8", "NEO_SESSION_SECONDS": "6", **settings,
    }  # fmt: skip
    log = folder / f"{name}.log"
    process = processes.start("embed", "run", *options, log=log, env=env)
    try:
        yield process
    finally:
        code = processes.stop(process)
    assert code in (0, -9), log.read_text()


def embedded(topics: Topics) -> str:
    return f"{topics.items}.embedded"


class Interrupted:
    """An embedder with whom something happens in the middle of its first batch."""

    name, dimension = "fake@1", 2

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens, self.batches = happens, 0

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        self.batches += 1
        if self.batches == 1:
            self._happens()
        return np.ones((len(texts), self.dimension), np.float32)


def expel_everybody(bootstrap: str, topics: Topics) -> None:
    """As the broker does with members that it has not heard of for a session."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        group = GROUP_PREFIX + embedded(topics)
        members = [member["member_id"] for member in admin.describe_groups([group])[group]["members"]]
        assert members
        admin.remove_group_members(group, [MemberToRemove(member_id=member) for member in members])


def make_target(bootstrap: str, topics: Topics, **configs: str) -> None:
    wanted = {"cleanup.policy": "compact", **{name.replace("_", "."): value for name, value in configs.items()}}
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics({embedded(topics): {"num_partitions": 1, "configs": wanted}})
        admin.wait_for_topics([embedded(topics)])


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
    catalog = tmp_path / "catalog"
    open_or_create(Settings(catalog=catalog, model=DEMO_MODEL)).close()
    with (
        stage(tmp_path, "first", bootstrap, topics, "--model", str(DEMO_MODEL)) as first,
        stage(tmp_path, "second", bootstrap, topics, "--catalog", str(catalog), NEO_MODEL=str(tmp_path / "none")),
    ):
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
    brokers.make_topic(bootstrap, topics.items, partitions=PARTITIONS, policy="delete")  # takes records without a key
    with (
        stage(tmp_path, "stage", bootstrap, topics),
        kafka_worker(tmp_path, DEMO_MODEL, bootstrap, topics, embedded_topic=embedded(topics)) as worker,
    ):
        brokers.send(bootstrap, topics.items, [record(number, 0) for number in range(30)])
        brokers.send(
            bootstrap,
            topics.items,
            [
                Record(b"film/undecodable", b"{", [], 0),
                Record(None, b"{}", [], 0),
                Record(b"film/f3", None, [], 0),
            ],
        )
        worker.start("--embedded")
        worker.wait(lambda: worker.counters().get("deleted") == 1, "the deletion, the last of its partition", 120)
        worker.wait(lambda: worker.counters().get("upserted") == 30, "all items", 120)
        with worker.reader.store.read() as txn:
            letters = [letter for _, letter in txn.dead_letters()]
        assert {(letter.topic, letter.reason) for letter in letters} == {(embedded(topics), "UNDECODABLE")}
        assert [(letter.key or b"", letter.value) for letter in letters] == [
            (b"film/undecodable", b"{"), (b"", b"{}"),
        ]  # fmt: skip
        assert all(ORIGIN in dict(letter.headers) for letter in letters)
        assert worker.stop() == 0


def assert_all_come_once_and_in_order(bootstrap: str, topics: Topics, embedder: Interrupted) -> None:
    """By one member, one of whose batches fails the first time."""
    sent = brokers.send(bootstrap, topics.items, [record(number, 0)._replace(partition=0) for number in range(20)])
    stop = threading.Event()
    member = EmbeddingStage(bootstrap, topics.items, embedded(topics), embedder, max_batch=8)
    thread = threading.Thread(target=member.run, args=(stop,), daemon=True)
    thread.start()
    try:
        until(lambda: len(brokers.read_topic(bootstrap, embedded(topics))) >= len(sent), "all events", lambda: "")
    finally:
        stop.set()
        thread.join(30)
    found = brokers.read_topic(bootstrap, embedded(topics))
    assert [dict(r.headers)[ORIGIN] for r in found] == [f"{topics.items}[0]@{p.offset}".encode() for p in sent]
    assert embedder.batches == 4, "three, and one once more"


def test_a_member_that_the_group_expels_amid_a_batch_doubles_nothing(bootstrap: str, topics: Topics) -> None:
    brokers.make_topic(bootstrap, topics.items)
    make_target(bootstrap, topics)
    assert_all_come_once_and_in_order(bootstrap, topics, Interrupted(lambda: expel_everybody(bootstrap, topics)))


def test_a_batch_that_timed_out_on_its_way_is_not_lost(
    bootstrap: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers.make_topic(bootstrap, topics.items)
    make_target(bootstrap, topics)
    late: list[ProducerBatch] = []

    def is_first(batch: ProducerBatch, *_: object) -> bool:
        late[:] = late or [batch]
        return batch is late[0]

    def lose_the_next() -> None:
        monkeypatch.setattr(ProducerBatch, "has_reached_delivery_timeout", is_first)

    assert_all_come_once_and_in_order(bootstrap, topics, Interrupted(lose_the_next))


def test_an_event_too_large_with_its_embedding_ends_the_stage_and_stays_unread(bootstrap: str, topics: Topics) -> None:
    brokers.make_topic(bootstrap, topics.items)
    make_target(bootstrap, topics, max_message_bytes="3000")
    large = encode(replace(upsert(1, 0), description="robots " * 1_000), JSON)
    brokers.send(bootstrap, topics.items, [record(0, 0), Record(large.key, large.value, large.headers, 0)])
    member = EmbeddingStage(bootstrap, topics.items, embedded(topics), Interrupted(lambda: None))
    with pytest.raises(StartupError, match=r"raise its max\.message\.bytes"):
        member.run(threading.Event())
    assert brokers.read_topic(bootstrap, embedded(topics)) == []
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        assert admin.list_group_offsets(GROUP_PREFIX + embedded(topics))[GROUP_PREFIX + embedded(topics)] == {}
