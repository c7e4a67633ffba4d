"""The embedding stage: item events without an embedding get one, before the assigner reads them.

Text embedding is the slow part of an upsert, and needs nobody's decision: members of a consumer group share the
partitions of the items topic, as many processes as there are partitions at most. Each takes what is there, up to a
batch, embeds it in one go, and writes it to the same partition of another topic, in one Kafka transaction with the
group's offsets: nothing is lost or told twice, whoever is killed when, and a member that lost its partitions meanwhile
is refused by the broker, as long as it says which generation of the group it read them in. One batch is under way at
a time, so memory is bounded and a slow embedder slows the reading.

What needs no embedding goes through untouched, also what nobody can read: the assigner says why it is refused. Only a
missing key becomes an empty one, because a compacted topic takes none.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition
from tenacity import RetryError

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import RawRecord, Upsert, validate_upsert
from neo_runtime.embed.base import Embedder, Vectors, of_type
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest.broker import TOO_LARGE, BrokerUnavailableError, Outage, close_quietly, dial, end_producer
from neo_runtime.ingest.event import CONTENT_TYPE, PROTOBUF, decode, encode
from neo_runtime.ingest.source import CONSUMER_OPTIONS, cut, poll_as_member, raw_record
from neo_runtime.ingest.transactions import settle, transactional_producer
from neo_runtime.observability import metrics

GROUP_PREFIX = "neo-embedder."
ORIGIN = "neo.origin"
# Readers of the target, and whoever takes over, wait so long for the open transaction of a member that was killed.
TRANSACTION_TIMEOUT_S = 10.0

Ready = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers."""

_log = structlog.get_logger(__name__)


class EmbeddingStage:
    """One member. `embedder` is the one that the codebooks were fitted with."""

    def __init__(
        self, bootstrap: str, source: str, target: str, embedder: Embedder, *, max_batch: int = 256,
        max_batch_bytes: int = 8 << 20, session_timeout_s: float = 10.0,
    ) -> None:  # fmt: skip
        self._bootstrap, self._source, self._target, self._embedder = bootstrap, source, target, embedder
        self._max_batch_bytes = max_batch_bytes
        self._options = {
            **CONSUMER_OPTIONS, "group_id": GROUP_PREFIX + target, "auto_offset_reset": "earliest",
            "partition_assignment_strategy": [StickyPartitionAssignor], "max_poll_records": max_batch,
            "max_poll_interval_ms": 300_000, "session_timeout_ms": int(session_timeout_s * 1e3),
            "heartbeat_interval_ms": int(session_timeout_s * 250),
        }  # fmt: skip
        self._consumer: Any = None
        self._producer: Any = None
        self._told: set[TopicPartition] = set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; the batch in hand is finished. Outages are waited out.

        StartupError where the target takes no record as large as one of ours.
        """
        outage = Outage(stop)
        try:
            while not stop.is_set():
                outage.retrying()(self._turn)
                outage.over()
        except RetryError:
            _log.warning("stopped while the broker is away")
        finally:
            self._drop()

    def _turn(self) -> None:
        try:
            if self._consumer is None:
                self._connect()
            fetched = poll_as_member(self._consumer)
            records = [raw_record(record) for batch in fetched.values() for record in batch]
            group = self._consumer.group_metadata()
            if records and group.generation_id < 0:  # the broker takes offsets from nobody in particular, unchecked
                raise BrokerUnavailableError(f"the group of {self._source} has dropped this member")
            for batch in cut(records, self._max_batch_bytes):
                self._forward(batch, group)
            self._tell_lag()
        except TOO_LARGE as error:
            self._drop()
            raise StartupError(
                f"topic {self._target!r} takes no record as large as an event of {self._source!r} with its embedding: "
                f"raise its max.message.bytes, then start again ({error})"
            ) from error
        except KafkaError as error:  # also where the group has given our partitions to somebody else: begin again
            self._drop()
            raise BrokerUnavailableError(f"embedding {self._source}: {error!r}") from error
        except BaseException:
            self._drop()
            raise

    def _connect(self) -> None:
        dial(self._bootstrap)
        self._producer = transactional_producer(
            self._bootstrap, f"{GROUP_PREFIX}{uuid.uuid4().hex}", TRANSACTION_TIMEOUT_S
        )
        self._consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, **self._options)
        self._consumer.subscribe([self._source])

    def _forward(self, records: list[RawRecord], group: Any) -> None:
        """The batch and the offsets after it, whole or not at all; `group`: as what member it was read."""
        ready, embedded = self._embedded(records)
        self._producer.begin_transaction()
        for record, (key, value, headers) in zip(records, ready, strict=True):
            position = record.position
            origin = (ORIGIN, f"{position.topic}[{position.partition}]@{position.offset}".encode())
            self._producer.send(
                self._target, key=key or b"", value=value, headers=[*headers, origin], partition=position.partition,
                timestamp_ms=record.timestamp_us // 1_000,
            )  # fmt: skip
        ends = {
            TopicPartition(*record.position[:2]): OffsetAndMetadata(record.position.offset + 1, "", -1)
            for record in records
        }
        transactions = self._producer._transaction_manager
        settle(self._producer, transactions.send_offsets_to_transaction(ends, group))
        settle(self._producer, transactions.begin_commit())
        metrics.EMBEDDING_BATCH.observe(len(records))
        metrics.EMBEDDED_EVENTS.labels("embedded").inc(embedded)
        metrics.EMBEDDED_EVENTS.labels("passed on").inc(len(records) - embedded)

    def _embedded(self, records: list[RawRecord]) -> tuple[list[Ready], int]:
        """Every record as it goes on, those that lack an embedding with one; and how many those were."""
        wanting = {place: event for place, record in enumerate(records) if (event := _wanting(record)) is not None}
        vectors = self._vectors(list(wanting.values()))
        ready: list[Ready] = [
            (record.key, record.value, [(name, value or b"") for name, value in record.headers]) for record in records
        ]
        for (place, event), vector in zip(wanting.items(), vectors, strict=True):
            said = encode(replace(event, embedding=vector, embedding_model=self._embedder.name), PROTOBUF)
            kept = [header for header in ready[place][2] if header[0].lower() != CONTENT_TYPE]
            ready[place] = (said.key, said.value, [*kept, *said.headers])
        return ready, len(wanting)

    def _vectors(self, events: Sequence[Upsert]) -> list[Vectors]:
        """Of each event, in their order; one call for each type."""
        rows_of: dict[str, list[int]] = {}
        for row, event in enumerate(events):
            rows_of.setdefault(event.key.type, []).append(row)
        vectors: dict[int, Vectors] = {}
        for item_type, rows in rows_of.items():
            found = of_type(self._embedder, item_type).embed([event_text(events[row]) for row in rows])
            vectors.update(zip(rows, found, strict=True))
        return [vectors[row] for row in range(len(events))]

    def _tell_lag(self) -> None:
        """Of the partitions that are ours now: of one that went, another member tells."""
        assigned = set(self._consumer.assignment())
        for tp in self._told - assigned:
            metrics.INGEST_LAG.remove(tp.topic, tp.partition)
        self._told &= assigned
        for tp in assigned:
            end, position = self._consumer.highwater(tp), self._consumer.position(tp, timeout_ms=0)
            if end is not None and position is not None:  # else nothing was fetched of it yet
                metrics.INGEST_LAG.labels(tp.topic, tp.partition).set(max(0, end - position))
                self._told.add(tp)

    def _drop(self) -> None:
        """A transaction that was not committed leaves nothing."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if producer is not None:
            end_producer(producer)
        if consumer is not None:
            close_quietly(consumer, autocommit=False, timeout_ms=1_000)


def _wanting(record: RawRecord) -> Upsert | None:
    """The event, if it is one to embed. What the assigner will refuse anyhow is not."""
    event = decode(record)
    if not isinstance(event, Upsert) or event.embedding is not None:
        return None
    with suppress(EventError):
        validate_upsert(event)
        return event
    return None
