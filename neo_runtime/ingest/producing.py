"""Item events onto Kafka, for publishers: every one acknowledged by the broker, or an error that says how many were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from neo_runtime.catalog.item import Availability, Delete, Upsert
from neo_runtime.errors import EventError
from neo_runtime.ingest.broker import (
    CLOSE_TIMEOUT_S,
    PRODUCER_OPTIONS,
    TOO_LARGE,
    BrokerUnavailableError,
    dial,
    end_producer,
    kafka_errors,
)
from neo_runtime.ingest.event import PROTOBUF, encode
from neo_runtime.ingest.outgoing import KafkaRecord

WINDOW = 2_000  # events under way at once: bounds memory
DELIVERY_WAIT_S = 30.0


class KafkaSink:
    """An idempotent producer. After a refusal it is of no use: kafka-python's never sends again once the broker found a
    record too large, or once a batch that had been sent ran out of time (it then waits for a producer id for ever).
    """

    def __init__(self, bootstrap: str) -> None:
        """BrokerUnavailableError where nobody answers."""
        dial(bootstrap)
        with kafka_errors(f"publishing to {bootstrap}"):
            self._producer: Any = KafkaProducer(bootstrap_servers=bootstrap, **PRODUCER_OPTIONS)

    def send(self, record: KafkaRecord) -> KafkaDelivery:
        """KafkaError where it cannot even be taken. Blocks for seconds where the topic is not known."""
        return KafkaDelivery(self._producer.send(**record._asdict()))

    def close(self) -> None:
        """Within seconds, whatever is still under way."""
        try:
            self._producer.close(timeout=CLOSE_TIMEOUT_S)
        except KafkaTimeoutError:  # raised before anything is closed: threads would stay, and the exit wait again
            end_producer(self._producer)


class KafkaDelivery:
    """A record on its way: a future of kafka-python. Flushing instead would not tell which record failed."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def wait(self, timeout_s: float) -> bool:
        """Whether the broker has answered, yes or no, after `timeout_s` at most."""
        if timeout_s > 0 and not self._future.is_done:
            with suppress(KafkaError):
                self._future.get(timeout=timeout_s)
        return bool(self._future.is_done)

    def error(self) -> Exception | None:
        """Why an answered record was refused; None where it arrived."""
        failure: Exception | None = self._future.exception
        return failure


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
