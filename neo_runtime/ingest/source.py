"""Where records come from: Kafka, or memory in tests. A source belongs to the thread that polls it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from neo_runtime.catalog.item import RawRecord
from neo_runtime.errors import StartupError
from neo_runtime.ingest.broker import (
    CLIENT_OPTIONS,
    BrokerUnavailableError,
    close_quietly,
    dial,
    kafka_errors,
)
from neo_runtime.types import Position

Offsets = dict[tuple[str, int], int]
"""(topic, partition) to an offset."""

# Bytes come as they are: a deserializer that raises makes every later poll spin for ever. Offsets are the catalog's,
# not a group's. A fetch waits at the broker for the first byte, so a lone record is not kept waiting.
CONSUMER_OPTIONS: dict[str, Any] = {
    **CLIENT_OPTIONS,
    "group_id": None,
    "key_deserializer": None,
    "value_deserializer": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "allow_auto_create_topics": False,
    "check_crcs": True,
    "fetch_min_bytes": 1,
    "fetch_max_wait_ms": 500,
    "max_partition_fetch_bytes": 1 << 20,
    "fetch_max_bytes": 8 << 20,
    "max_poll_records": 1_000,
    "metrics_enabled": False,
}
POLL_MS = 200  # a poll without waiting would never get through joining a group
CHECK_EVERY_S = 5.0
ANSWER_TIMEOUT_MS = 3_000
MADE_ANEW = (OffsetOutOfRangeError, LogTruncationError)  # what says so of a topic; connecting again tells the rest
CLOSE_TIMEOUT_MS = 1_000

_log = structlog.get_logger(__name__)


def poll_as_member(consumer: Any) -> Mapping[TopicPartition, Sequence[Any]]:
    """What a member of a group is given within `POLL_MS`."""
    fetched: Mapping[TopicPartition, Sequence[Any]] = consumer.poll(timeout_ms=POLL_MS)
    if consumer._coordinator.rebalance_in_progress():
        # A poll that runs out in the middle of joining may never come back to it: no heartbeats, no commits.
        consumer._coordinator.request_rejoin()
    return fetched


class RecordSource(Protocol):
    """Records of some topics in log order per partition, from where the catalog stopped."""

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """What is there, at most `max_records`, as soon as there is something; empty after `timeout_s`.

        BrokerUnavailableError: call again later, nothing was lost. StartupError: only an operator can help.
        """

    def positions(self) -> Offsets:
        """The next offset that poll will look at."""

    def end_offsets(self) -> Offsets:
        """The newest ends known, without asking."""

    def close(self) -> None:
        """Within seconds, whether or not the broker answers."""


def lag(source: RecordSource) -> int:
    """Records that are in the log and not yet polled, as far as is known."""
    ends = source.end_offsets()
    return sum(max(0, ends.get(partition, 0) - offset) for partition, offset in source.positions().items())


def cut(records: list[RawRecord], max_bytes: int) -> Iterator[list[RawRecord]]:
    """In runs of at most `max_bytes`, or of one larger record."""
    run: list[RawRecord] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if run and size + length > max_bytes:
            yield run
            run, size = [], 0
        run.append(record)
        size += length
    if run:
        yield run


class MemorySource:
    """A log in memory. A restart is another source over the same `log`, with the offsets that the catalog holds."""

    def __init__(self, log: list[RawRecord] | None = None, stored: Mapping[tuple[str, int], int] | None = None) -> None:
        self.log = [] if log is None else log
        self._stored = dict(stored or {})
        self._read = 0

    def append(
        self, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = (), *,
        topic: str = "items", partition: int = 0, timestamp_us: int = 1,
    ) -> Position:  # fmt: skip
        """Publish one record."""
        taken = sum(record.position[:2] == (topic, partition) for record in self.log)
        position = Position(topic, partition, taken)
        self.log.append(RawRecord(position, key, value, tuple(headers), timestamp_us))
        return position

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """See RecordSource."""
        records: list[RawRecord] = []
        while self._read < len(self.log) and len(records) < max_records:
            record = self.log[self._read]
            self._read += 1
            if record.position.offset >= self._stored.get(record.position[:2], 0):
                records.append(record)
        if not records:
            time.sleep(min(timeout_s, 0.001))
        return records

    def positions(self) -> Offsets:
        """See RecordSource."""
        return _next_offsets(self.log[: self._read])

    def end_offsets(self) -> Offsets:
        """See RecordSource."""
        return _next_offsets(self.log)

    def close(self) -> None:
        """See RecordSource."""


class KafkaSource:
    """Every partition of some topics, with `assign`: the state lives in the catalog, so no group may take one away.

    Any error costs the consumer, and the next poll makes another where this one stopped: after an error inside a
    fetched batch, kafka-python's poll never returns.
    """

    def __init__(self, bootstrap: str, topics: str | Sequence[str], stored: Mapping[tuple[str, int], int]) -> None:
        """BrokerUnavailableError where nobody answers, StartupError where `stored` does not fit a topic."""
        self._bootstrap, self._topics = bootstrap, (topics,) if isinstance(topics, str) else tuple(topics)
        self._next = {partition: offset for partition, offset in stored.items() if partition[0] in self._topics}
        self._ends: Offsets = {}
        self._consumer: Any = None
        self._connect()

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """See RecordSource."""
        if self._consumer is None:
            self._connect()
        try:
            with kafka_errors(f"reading {', '.join(self._topics)}"):
                records = self._fetch(max_records, timeout_s)
                if time.monotonic() >= self._check_at:
                    self._check(heard=bool(records))
        except BaseException:
            self._drop()
            raise
        return records

    def positions(self) -> Offsets:
        """See RecordSource. Markers of transactions count as read."""
        if self._consumer is None:
            return dict(self._next)
        try:
            positions = {tp: self._consumer.position(tp, timeout_ms=0) for tp in self._consumer.assignment()}
        except MADE_ANEW:  # the topic was made anew; the next poll says so
            self._drop()
            return dict(self._next)
        return {(tp.topic, tp.partition): offset for tp, offset in positions.items() if offset is not None}

    def end_offsets(self) -> Offsets:
        """See RecordSource."""
        if self._consumer is not None:
            for tp in self._consumer.assignment():
                fetched = self._consumer.highwater(tp) or 0
                self._ends[tp] = max(fetched, self._ends.get(tp, 0))
        return {(topic, partition): offset for (topic, partition), offset in self._ends.items()}

    def close(self) -> None:
        """See RecordSource."""
        self._drop()

    def _fetch(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except MADE_ANEW:
            self._drop()
            self._connect()  # says which offset is out of which range
            return []
        records = [raw_record(record) for batch in fetched.values() for record in batch]
        for record in records:
            self._next[record.position[:2]] = record.position.offset + 1
        return records

    def _check(self, *, heard: bool) -> None:
        """Now and then: is the broker there (an empty poll does not tell), and did a topic get partitions?"""
        assigned = self._consumer.assignment()
        if not heard:
            self._ends.update(self._consumer.end_offsets(list(assigned), timeout_ms=ANSWER_TIMEOUT_MS))
        known = self._partitions(self._consumer)
        if len(known) > len(assigned):
            _log.info("topics have new partitions", topics=self._topics, partitions=len(known))
            self._assign(self._consumer, known)
        self._check_at = time.monotonic() + CHECK_EVERY_S

    def _connect(self) -> None:
        dial(self._bootstrap)
        with contextlib.ExitStack() as undo, kafka_errors(f"reading {', '.join(self._topics)} at {self._bootstrap}"):
            consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, **CONSUMER_OPTIONS)
            undo.callback(close_quietly, consumer, autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
            self._assign(consumer, self._partitions(consumer))
            undo.pop_all()
        self._consumer = consumer
        self._check_at = time.monotonic() + CHECK_EVERY_S

    def _partitions(self, consumer: Any) -> list[TopicPartition]:
        found = []
        for topic in self._topics:
            partitions = consumer.partitions_for_topic(topic)
            if not partitions:  # also where a broker that just started does not know its topics yet
                raise BrokerUnavailableError(f"{self._bootstrap} knows no topic {topic!r}")
            found += [TopicPartition(topic, partition) for partition in sorted(partitions)]
        return found

    def _assign(self, consumer: Any, assigned: list[TopicPartition]) -> None:
        """Seek to what is stored, or to the start of a partition that is new to the catalog."""
        consumer.assign(assigned)
        starts = consumer.beginning_offsets(assigned, timeout_ms=ANSWER_TIMEOUT_MS)
        ends = consumer.end_offsets(assigned, timeout_ms=ANSWER_TIMEOUT_MS)
        for missing in sorted(self._next.keys() - set(assigned)):
            raise _misfit(missing, self._next[missing], "the topic has no such partition")
        for tp in assigned:
            offset = self._next.setdefault((tp.topic, tp.partition), starts[tp])
            if not starts[tp] <= offset <= ends[tp]:
                raise _misfit(tp, offset, f"the topic has {starts[tp]} to {ends[tp]}")
            consumer.seek(tp, offset)
            self._ends[tp] = ends[tp]

    def _drop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            close_quietly(consumer, autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)


def _misfit(partition: tuple[str, int], stored: int, found: str) -> StartupError:
    topic, number = partition
    return StartupError(
        f"the catalog has read {topic}[{number}] up to offset {stored}, but {found}: the topic was made anew, or "
        "dropped records that were not read. Start with a new catalog folder and a new assignments topic, and it is "
        "read from its start; or, where this is the wrong Kafka, correct its address",
        reason="OFFSET_OUT_OF_RANGE",
        metadata={"topic": topic, "partition": str(number), "stored": str(stored)},
    )


def raw_record(record: Any) -> RawRecord:
    timestamp_us = max(0, record.timestamp or 0) * 1000
    position = Position(record.topic, record.partition, record.offset)
    return RawRecord(position, record.key, record.value, tuple(record.headers), timestamp_us)


def _next_offsets(log: list[RawRecord]) -> Offsets:
    return {record.position[:2]: record.position.offset + 1 for record in log}
