"""The outbox of a catalog to Kafka: in order, at least once, acknowledged to the catalog when the broker has it.

Belongs to the thread that applies events. The order is the guarantee:
1. send the oldest records of the outbox that are not under way, those of one turn as one transaction
2. wait for the broker, oldest first
3. acknowledge what it has, up to the first that it refused; that one and all after it are sent again

Sending anything before an older record that failed would leave the older state of an item as the topic's last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, Protocol

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.records import DeadLetter, Outgoing
from neo_runtime.errors import StorageError
from neo_runtime.ingest.broker import CLIENT_OPTIONS, BrokerUnavailableError, close_quietly, dial, kafka_errors
from neo_runtime.ingest.outgoing import KafkaRecord, OutgoingEncoder
from neo_runtime.ingest.source import Offsets
from neo_runtime.types import Position

PRODUCER_OPTIONS: dict[str, Any] = {
    **CLIENT_OPTIONS,
    "enable_idempotence": True,
    "acks": "all",
    "max_in_flight_requests_per_connection": 5,
    "delivery_timeout_ms": 15_000,
    "max_block_ms": 3_000,
    "linger_ms": 0,
    "batch_size": 128 << 10,
    "max_request_size": 64 << 20,  # the broker has the say on what is too large
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
MOST_CUT = 2
WINDOW = 2_000  # records under way at most
UNACKNOWLEDGED = 500  # a commit for every record would cost more than sending some again after a crash
UNACKNOWLEDGED_S = 1.0
DOUBT_S = 1.0  # after a refusal, how long an answer is waited for before calling it an outage still
CLOSE_TIMEOUT_S = 2.0

_log = structlog.get_logger(__name__)


class Delivery(Protocol):
    """A record on its way."""

    def wait(self, timeout_s: float) -> bool:
        """Whether the broker has answered, yes or no, after `timeout_s` at most."""

    def error(self) -> Exception | None:
        """Why an answered record was refused; None where it arrived."""

    def position(self) -> Position:
        """Where an arrived record is."""


class RecordSink(Protocol):
    """Where records go."""

    def send(self, record: KafkaRecord) -> Delivery:
        """Takes the record; KafkaError where it cannot even do that."""

    def commit(self) -> None:
        """What was sent since the last time belongs together."""

    def is_busy(self) -> bool:
        """Whether nothing more can be sent before what was sent is answered."""

    def give_up(self) -> None:
        """Whatever is under way is answered, with an error where it had no answer yet."""

    def close(self) -> None:
        """Within seconds, whatever is still under way."""


class KafkaSink:
    """An idempotent producer, and another one after a refusal: kafka-python's never sends again once the broker found
    a record too large, or once a batch that had been sent ran out of time (it then waits for a producer id for ever).
    """

    def __init__(self, bootstrap: str) -> None:
        """BrokerUnavailableError where nobody answers."""
        self._bootstrap = bootstrap
        self._producer: Any = None
        self._connect()

    def _connect(self) -> Any:
        if self._producer is None:
            dial(self._bootstrap)
            with kafka_errors(f"publishing to {self._bootstrap}"):
                self._producer = KafkaProducer(bootstrap_servers=self._bootstrap, **PRODUCER_OPTIONS)
        return self._producer

    def send(self, record: KafkaRecord) -> KafkaDelivery:
        """See RecordSink. Blocks for seconds where the topic is not known; BrokerUnavailableError where nobody is."""
        return KafkaDelivery(self._connect().send(**record._asdict()))

    def commit(self) -> None:
        """See RecordSink. Every record is on its own."""

    def is_busy(self) -> bool:
        """See RecordSink."""
        return False

    def give_up(self) -> None:
        """See RecordSink."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer._sender.force_close()
            producer._sender.join(CLOSE_TIMEOUT_S)
            close_quietly(producer, timeout=CLOSE_TIMEOUT_S)

    def close(self) -> None:
        """See RecordSink."""
        if self._producer is None:
            return
        try:
            self._producer.close(timeout=CLOSE_TIMEOUT_S)
        except KafkaTimeoutError:  # raised before anything is closed: threads would stay, and the exit wait again
            self.give_up()


class KafkaDelivery:
    """A future of kafka-python. Flushing instead would not tell which record failed."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def wait(self, timeout_s: float) -> bool:
        """See Delivery."""
        if timeout_s > 0 and not self._future.is_done:
            with suppress(KafkaError):
                self._future.get(timeout=timeout_s)
        return bool(self._future.is_done)

    def error(self) -> Exception | None:
        """See Delivery."""
        failure: Exception | None = self._future.exception
        return failure

    def position(self) -> Position:
        """See Delivery."""
        metadata = self._future.value
        return Position(metadata.topic, metadata.partition, metadata.offset)


@dataclass(slots=True)
class UnderWay:
    """A record of the outbox that was sent and not yet acknowledged to the catalog."""

    number: int
    topic: str
    delivery: Delivery

    def arrived(self) -> bool:
        return self.delivery.wait(0) and self.delivery.error() is None


class Publisher:
    """One per catalog. See the module for what it guarantees.

    `tell` hears how far the logs were read that everything published so far came from.
    """

    def __init__(
        self, catalog: Catalog, sink: RecordSink, encoder: OutgoingEncoder,
        tell: Callable[[Offsets], None] = lambda positions: None,
    ) -> None:  # fmt: skip
        self._catalog, self._sink, self._encoder, self._tell = catalog, sink, encoder, tell
        self._under_way: deque[UnderWay] = deque()
        self._reached: deque[tuple[int, Offsets]] = deque()
        self._cuts: dict[int, int] = {}
        self._acknowledged_at = time.monotonic()
        self._newest_logged = -1
        self._in_doubt = False
        self.published = 0

    def waiting(self) -> int:
        """Records that the catalog keeps for Kafka, under way or not."""
        with self._catalog.store.read() as txn:
            return txn.entries("outbox")

    def under_way(self) -> int:
        """Records that were sent and not yet acknowledged."""
        return len(self._under_way)

    def reached(self, positions: Offsets) -> None:
        """All that came of the records before `positions` is in the outbox now, or published."""
        self._reached.append((self._catalog.reader.state().outgoing, positions))

    def send(self) -> None:
        """Send what waits. BrokerUnavailableError where that is not possible now."""
        if self._refused() or self._sink.is_busy():
            return  # settle has to start over first, or the order is lost
        start = self._under_way[-1].number + 1 if self._under_way else 0
        for number, outgoing in self._catalog.outbox(WINDOW - len(self._under_way), start):
            self._log(number, outgoing)
            self._under_way.append(self._send(number, outgoing))
        self._sink.commit()

    def settle(self, wait_s: float = 0.0, *, quiet: bool = True) -> None:
        """Acknowledge what has arrived; where not `quiet`, only what is worth a commit.

        BrokerUnavailableError where the broker refused something: it is sent again.
        """
        if self._under_way:
            self._under_way[-1].delivery.wait(max(wait_s, DOUBT_S) if self._in_doubt else wait_s)
        arrived = sum(1 for _ in takewhile(UnderWay.arrived, self._under_way))
        refused = self._refused()
        if arrived:
            self._in_doubt = False
            late = time.monotonic() - self._acknowledged_at > UNACKNOWLEDGED_S
            if quiet or refused or late or arrived >= UNACKNOWLEDGED:
                self._acknowledge(arrived)
        self._tell_reached()
        if refused:
            self._start_over(refused)
        elif self._in_doubt and self._under_way:
            raise BrokerUnavailableError(f"publishing to {self._under_way[0].topic}: not answered yet")

    def close(self) -> None:
        """Give what is under way a moment, then let go: the next start sends what was not acknowledged."""
        with suppress(BrokerUnavailableError, StorageError):
            self.send()
            self.settle(CLOSE_TIMEOUT_S)
        self._sink.close()

    def _send(self, number: int, outgoing: Outgoing) -> UnderWay:
        record = self._encoder.encode(outgoing, self._cuts.get(number, 0))
        try:
            return UnderWay(number, record.topic, self._sink.send(record))
        except KafkaError as error:
            raise BrokerUnavailableError(f"publishing to {record.topic}: {error}") from error

    def _acknowledge(self, count: int) -> None:
        arrived = list(islice(self._under_way, count))
        numbers = [entry.number for entry in arrived]
        positions = [entry.delivery.position() for entry in arrived if entry.topic == self._encoder.assignments_topic]
        self._catalog.acknowledge(numbers, {position[:2]: position.offset + 1 for position in positions})
        for _ in arrived:  # not before: a full disk leaves the outbox as it was, and this has to stay its match
            self._under_way.popleft()
        self._acknowledged_at = time.monotonic()
        self.published += count
        for number in self._cuts.keys() & set(numbers):
            del self._cuts[number]

    def _tell_reached(self) -> None:
        """Up to the batch whose last record is published."""
        if not self._reached:
            return
        with self._catalog.store.read() as txn:
            waiting = txn.outbox(1)
        told: Offsets = {}
        while self._reached and (not waiting or self._reached[0][0] <= waiting[0][0]):
            told |= self._reached.popleft()[1]
        if told:
            self._tell(told)

    def _refused(self) -> UnderWay | None:
        """The oldest record under way that did not arrive, as far as is known; rather one that was too large, since
        that fails the others of its transaction."""
        failed = [entry for entry in self._under_way if entry.delivery.wait(0) and entry.delivery.error()]
        too_large = (entry for entry in failed if isinstance(entry.delivery.error(), TOO_LARGE))
        return next(too_large, failed[0] if failed else None)

    def _start_over(self, refused: UnderWay) -> None:
        """Forget what is under way, once nothing of it may arrive after what is sent again."""
        error = refused.delivery.error()
        self._sink.give_up()
        self._under_way.clear()
        cut = self._cuts.get(refused.number, 0)
        if isinstance(error, TOO_LARGE) and cut < MOST_CUT:
            self._cuts[refused.number] = cut + 1
            return
        self._in_doubt = True
        raise BrokerUnavailableError(f"publishing to {refused.topic}: {error}") from error

    def _log(self, number: int, outgoing: Outgoing) -> None:
        if isinstance(outgoing, DeadLetter) and number > self._newest_logged:
            self._newest_logged = number
            origin = f"{outgoing.topic}[{outgoing.partition}]@{outgoing.offset}"
            _log.warning("dead letter", origin=origin, reason=outgoing.reason, message=outgoing.message)
