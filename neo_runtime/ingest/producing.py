"""Item events onto Kafka, for publishers: every one acknowledged by the broker, or an error that says how many were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing

from kafka.errors import KafkaError

from neo_runtime.catalog.item import Availability, Delete, Upsert
from neo_runtime.errors import EventError
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.event import PROTOBUF, encode
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.publisher import TOO_LARGE, KafkaDelivery, KafkaSink

WINDOW = 2_000  # events under way at once: bounds memory
DELIVERY_WAIT_S = 30.0


def publish_events(
    bootstrap: str, events: Iterable[tuple[str, Upsert | Delete | Availability]], *, content_type: str = PROTOBUF
) -> int:
    """Events with their topics: in order, each acknowledged; returns their number.

    BrokerUnavailableError where the broker or the topic is away, EventError for an event that it finds too large.
    """
    return publish_records(bootstrap, (KafkaRecord(topic, *encode(event, content_type)) for topic, event in events))


def publish_records(bootstrap: str, records: Iterable[KafkaRecord]) -> int:
    """The same for records as they are."""
    arrived = 0
    with closing(KafkaSink(bootstrap)) as sink:
        under_way: deque[tuple[str, KafkaDelivery]] = deque()
        for record in records:
            under_way.append((record.topic, _send(sink, record, arrived)))
            if len(under_way) == WINDOW:
                _settle(*under_way.popleft(), arrived)
                arrived += 1
        while under_way:
            _settle(*under_way.popleft(), arrived)
            arrived += 1
    return arrived


def _send(sink: KafkaSink, record: KafkaRecord, arrived: int) -> KafkaDelivery:
    try:
        return sink.send(record)
    except (KafkaError, ValueError) as error:  # ValueError: there is no such partition
        raise _failure(record.topic, arrived, error) from error


def _settle(topic: str, delivery: KafkaDelivery, arrived: int) -> None:
    answered = delivery.wait(DELIVERY_WAIT_S)
    error = delivery.error()
    if error or not answered:
        raise _failure(topic, arrived, error)


def _failure(topic: str, arrived: int, error: Exception | None) -> EventError | BrokerUnavailableError:
    where = f"{topic}, after {arrived} events that arrived"
    if isinstance(error, TOO_LARGE):
        return EventError(f"{where}: an event is too large for the broker ({error})", reason="VALUE_TOO_LARGE")
    hint = "is the broker up, and does the topic exist (`neo catalog run` makes it)?"
    return BrokerUnavailableError(f"publishing to {where}: {error or 'no answer'}; {hint}")
