"""A real broker for a whole session, topics of one's own on it, and what is in them."""

from __future__ import annotations

import functools
import logging
import os
import random
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from neo_runtime.ingest.local_kafka import LocalKafka
from neo_runtime.types import Position


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the broker that every test shares; tests that hurt a broker start one of their own."""
    return os.environ.get("NEO_KAFKA_BOOTSTRAP") or _started(tmp_path_factory.getbasetemp() / "shared-kafka")


@functools.cache
def _started(folder: Path) -> str:
    return LocalKafka(folder).start()  # it stops with this process


@dataclass(frozen=True)
class Topics:
    """The topics of one catalog."""

    items: str
    assignments: str
    availability: str

    @property
    def dead_letters(self) -> str:
        return f"{self.items}.dlq"


def new_topics(name: str) -> Topics:
    stem = f"{re.sub(r'[^a-zA-Z0-9]+', '-', name)[:80]}-{uuid.uuid4().hex[:8]}"
    return Topics(f"{stem}.items", f"{stem}.assignments", f"{stem}.availability")


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Topics:
    """Names that no other test has; nothing is made yet."""
    return new_topics(str(request.node.name))


class Record(NamedTuple):
    """What a catalog team sends."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    timestamp_ms: int | None = None


@contextmanager
def producing(bootstrap: str) -> Iterator[KafkaProducer]:
    """A producer that outlives its broker's restarts and sends every record once and in order."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a line per attempt would hide all else
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, delivery_timeout_ms=90_000,
        request_timeout_ms=5_000, max_block_ms=30_000, reconnect_backoff_max_ms=500,
    )  # fmt: skip
    with closing(producer):
        yield producer


def send(bootstrap: str, topic: str, records: Iterable[Record]) -> list[Position]:
    """Where each record got to."""
    with producing(bootstrap) as producer:
        under_way = [producer.send(topic, **record._asdict()) for record in records]
        arrived = [future.get(timeout=60) for future in under_way]
    return [Position(metadata.topic, metadata.partition, metadata.offset) for metadata in arrived]


@contextmanager
def reading(bootstrap: str, topic: str) -> Iterator[tuple[KafkaConsumer, dict[TopicPartition, int]]]:
    """A consumer of all partitions, and where they end."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    with closing(consumer):
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            raise AssertionError(f"there is no topic {topic}")
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        yield consumer, consumer.end_offsets(partitions)


def end_offsets(bootstrap: str, topic: str) -> dict[tuple[str, int], int]:
    """Of the partitions that hold something."""
    with reading(bootstrap, topic) as (_, ends):
        return {(tp.topic, tp.partition): offset for tp, offset in ends.items() if offset}


def read_topic(bootstrap: str, topic: str, timeout_s: float = 60) -> list[Any]:
    """Everything that is in a topic now, by partition and offset, as kafka-python's records."""
    records: list[Any] = []
    deadline = time.monotonic() + timeout_s
    with reading(bootstrap, topic) as (consumer, ends):
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(records)} records read of {topic}, which ends at {ends}, in {timeout_s} s")
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))


def make_topic(bootstrap: str, topic: str, *, partitions: int = 1, policy: str = "compact") -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics({topic: {"num_partitions": partitions, "configs": {"cleanup.policy": policy}}})
        admin.wait_for_topics([topic])


def make_anew(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete a topic with everything in it and make one of the same name."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.delete_topics([topic])
        deadline = time.monotonic() + 30
        while topic in admin.list_topics():
            if time.monotonic() > deadline:
                raise AssertionError(f"{topic} is still there 30 s after it was deleted")
            time.sleep(0.1)
    make_topic(bootstrap, topic, partitions=partitions)


def kill_settled(broker: LocalKafka) -> None:
    """Kill a broker of one's own, once it would find all of its partitions again.

    Kafka writes a new partition's `partition.metadata` a moment after it took the first records, and a start deletes
    a log without that file as a stray one (KAFKA-16814).
    """
    deadline = time.monotonic() + 60
    logs = [folder for folder in (broker.data_dir / "logs").iterdir() if folder.is_dir()]
    while waiting := [log.name for log in logs if not (log / "partition.metadata").exists()]:
        assert time.monotonic() < deadline, f"Kafka does not settle {waiting}"
        time.sleep(0.01)
    broker.kill()


def quiet_port() -> int:
    """A port that is free and stays so, for a broker that starts later: no system gives it to outgoing connections."""
    for port in random.SystemRandom().sample(range(20_000, 26_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port is free")
