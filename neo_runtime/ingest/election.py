"""One assigner at a time: a consumer group gives the only partition of a topic to one of its members.

The seat decides who tries, no more. That nobody else's records get through is the work of the transactions.
A member keeps the seat through rebalances, since the assignor is sticky, and through its own restart within the
session timeout, since the group knows it by its catalog's id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import OffsetAndMetadata

from neo_runtime.errors import SupersededError
from neo_runtime.ingest.broker import BACKOFF_MAX_S, BrokerUnavailableError, close_quietly, dial
from neo_runtime.ingest.source import CONSUMER_OPTIONS, Offsets, poll_as_member

TELL_EVERY_S = 1.0
ANSWER_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 3.0

_log = structlog.get_logger(__name__)


class Seat(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs a thread of its own, from its making to `close`. `member`: who we are, through restarts."""

    def __init__(self, bootstrap: str, topic: str, group: str, member: str, *, session_timeout_s: float) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._options = {
            **CONSUMER_OPTIONS, "group_id": group, "group_instance_id": member, "auto_offset_reset": "latest",
            "partition_assignment_strategy": [StickyPartitionAssignor], "max_poll_interval_ms": 60_000,
            "session_timeout_ms": int(session_timeout_s * 1e3), "heartbeat_interval_ms": int(session_timeout_s * 250),
        }  # fmt: skip
        self.decided = threading.Event()
        """The group has said for the first time whether the seat is ours."""
        self.held = False
        self._lost: str = ""
        self._asked: SimpleQueue[tuple[Callable[[Any], Any], Future[Any]]] = SimpleQueue()
        self._positions: Offsets = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._tell_at = 0.0
        self._thread = threading.Thread(target=self._run, name="seat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """SupersededError once the seat was lost to somebody else."""
        if self._lost:
            raise SupersededError(f"{self._lost}; start this one again, and it stands by")

    def confirm(self) -> None:
        """Ask the group. SupersededError where the seat is not ours any more, BrokerUnavailableError where unknown."""
        seat = {TopicPartition(self._topic, 0): OffsetAndMetadata(0, "", -1)}
        self._ask(lambda consumer: consumer.commit(seat, timeout_ms=int(ANSWER_TIMEOUT_S * 1e3)))
        self.check()

    def committed(self, topic: str) -> Offsets:
        """How far assigners have said to be with `topic`."""

        def fetch(consumer: Any) -> Offsets:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            found = {tp: consumer.committed(tp, timeout_ms=int(ANSWER_TIMEOUT_S * 1e3)) for tp in partitions}
            return {(tp.topic, tp.partition): offset for tp, offset in found.items() if offset is not None}

        offsets: Offsets = self._ask(fetch)
        return offsets

    def tell(self, positions: Offsets) -> None:
        """Everything before `positions` is published: a successor may start there. Told about once a second."""
        with self._lock:
            self._positions.update(positions)

    def close(self) -> None:
        """The seat is free at once. After a crash it stays ours until the session times out, for a restart."""
        self._ended.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def on_partitions_revoked(self, revoked: Any) -> None:
        """A rebalance begins; what comes of it, `on_partitions_assigned` says. On kafka-python's thread."""

    def on_partitions_lost(self, lost: Any) -> None:
        """The broker was away too long; the next assignment tells whether somebody else came first."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        """On kafka-python's thread."""
        if self.held and not assigned:
            self._lost = "another assigner has taken over"
        self.held = bool(assigned)
        self.decided.set()

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        answer: Future[Any] = Future()
        self._asked.put((question, answer))
        try:
            return answer.result(ANSWER_TIMEOUT_S + CLOSE_TIMEOUT_S)
        except (KafkaError, NoAnswerError) as error:
            self.check()
            raise BrokerUnavailableError(f"the group of assigners does not answer: {error!r}") from error

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                dial(self._bootstrap)
                consumer = KafkaConsumer(bootstrap_servers=self._bootstrap, **self._options)
                with closing(_Closed(consumer)):
                    if not consumer.partitions_for_topic(self._topic):  # a broker that just started: nobody gets a seat
                        raise BrokerUnavailableError(f"{self._bootstrap} knows no topic {self._topic!r}")
                    consumer.subscribe([self._topic], listener=self)
                    self._serve(consumer)
                    # A member with a name stays in its group unless asked to leave: stopped in order, it is.
                    consumer._coordinator.is_dynamic_member = lambda: True
            except FencedInstanceIdError:
                self._lost = "a copy of this catalog's folder is in use by another assigner"
                return
            except (KafkaError, BrokerUnavailableError) as error:
                _log.debug("no seat", error=str(error))
                self._ended.wait(BACKOFF_MAX_S)

    def _serve(self, consumer: Any) -> None:
        while not self._ended.is_set():
            poll_as_member(consumer)
            self._answer(consumer)
            if self.held and time.monotonic() >= self._tell_at:
                self._tell(consumer)
        self._tell(consumer)

    def _answer(self, consumer: Any) -> None:
        while True:
            try:
                question, answer = self._asked.get_nowait()
            except Empty:
                return
            try:
                answer.set_result(question(consumer))
            except KafkaError as error:
                answer.set_exception(error)

    def _tell(self, consumer: Any) -> None:
        with self._lock:
            positions, self._positions = self._positions, {}
        self._tell_at = time.monotonic() + TELL_EVERY_S
        if not positions:
            return
        offsets = {TopicPartition(*partition): OffsetAndMetadata(n, "", -1) for partition, n in positions.items()}
        try:
            consumer.commit(offsets, timeout_ms=int(CLOSE_TIMEOUT_S * 1e3))
        except KafkaError as error:  # a rebalance, or no broker: the next ones will be told
            _log.debug("positions not told", error=str(error))
            with self._lock:
                self._positions = positions | self._positions


class _Closed:
    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def close(self) -> None:
        close_quietly(self._consumer, autocommit=False, timeout_ms=1_000)
