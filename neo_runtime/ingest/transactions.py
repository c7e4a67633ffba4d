"""A producer that only one process at a time can be, and whose records appear in transactions, whole or not at all.

An epoch in each record would not do: the topic is compacted, so a late record of a paused assigner would push out its
successor's, and followers that ignore it would have neither. The broker itself has to refuse it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError
from kafka.producer.transaction_manager import TransactionManager

from neo_runtime.errors import SupersededError
from neo_runtime.ingest.broker import PRODUCER_OPTIONS, TOO_LARGE, BrokerUnavailableError, end_producer, kafka_errors
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.types import Position

# Transactions one after the other wait for `retry_backoff_ms` in between: 110 ms each at the default of 100.
TRANSACTION_OPTIONS: dict[str, Any] = {
    **PRODUCER_OPTIONS,
    "retry_backoff_ms": 1,
    "linger_ms": 1_000,  # a commit sends all at once; sending beside the appending costs more in threads than in time
    "max_block_ms": 10_000,
}
ANSWER_TIMEOUT_S = 30.0  # the broker gives a transaction up then
LOOK_EVERY_MS = 50  # a refused record does not end the wait for its transaction
FENCED = (ProducerFencedError, InvalidProducerEpochError)

# What kafka-python does about a batch that failed for good, and what ends the transaction instead. It would commit the
# other batches where one timed out, as Kafka's own client did before KAFKA-5385, and after a new epoch call done what
# the broker had aborted.
STRICT: dict[str, str] = {
    TransactionManager.ERROR_CLASS_RETRIABLE: TransactionManager.ERROR_CLASS_ABORTABLE,
    TransactionManager.ERROR_CLASS_NEEDS_EPOCH_BUMP: TransactionManager.ERROR_CLASS_FATAL,
}


class TooLargeError(BrokerUnavailableError):
    """The broker does not take a record of that size. `index`: the record's in its transaction."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def transactional_producer(bootstrap: str, transactional_id: str, timeout_s: float) -> KafkaProducer:
    """Connected, alone with that id, and a commit fails where one of its records has.

    The broker gives a transaction up after `timeout_s`. KafkaError where it does not answer, or refuses.
    """
    with ExitStack() as undo:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=transactional_id,
            transaction_timeout_ms=int(timeout_s * 1e3), **TRANSACTION_OPTIONS,
        )  # fmt: skip
        undo.callback(end_producer, producer)
        manager: Any = producer._transaction_manager
        classify: Callable[..., str] = manager.classify_batch_error

        def classify_strictly(*failure: Any, **details: Any) -> str:
            kind = classify(*failure, **details)
            return STRICT.get(kind, kind)

        manager.classify_batch_error = classify_strictly
        producer.init_transactions()
        undo.pop_all()
    return producer


def settle(producer: Any, result: Any, look: Callable[[], None] = lambda: None) -> None:
    """Wait for what the transaction manager began; its public calls would wait without a limit.

    `look`, again and again meanwhile, may end the wait by raising. KafkaTimeoutError where there is no answer.
    """
    producer._sender.wakeup()
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not result.is_done:
        look()
        if time.monotonic() > deadline:
            raise KafkaTimeoutError("a transaction got no answer")
        with suppress(KafkaError):
            result.wait(timeout_ms=LOOK_EVERY_MS)
    if result.exception is not None:
        raise result.exception


class TransactionalProducer:
    """Publishes one transaction at a time. After any error it has to connect again."""

    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self._bootstrap, self._id = bootstrap, transactional_id
        self._producer: Any = None

    def connect(self) -> None:
        """From here on no other producer of this id gets anything through, nor does what this one was before.

        BrokerUnavailableError: try again.
        """
        self.close()
        with kafka_errors(f"publishing to {self._bootstrap}"):
            self._producer = transactional_producer(self._bootstrap, self._id, ANSWER_TIMEOUT_S)

    def publish(self, records: Iterable[KafkaRecord]) -> list[Position]:
        """All of them or none; where each got to.

        SupersededError where another producer took over, TooLargeError, BrokerUnavailableError.
        """
        sent: list[Any] = []
        try:
            self._commit(records, sent)
        except KafkaError as error:
            self.close()
            raise _refusal(error, sent) from error
        return [Position(place.topic, place.partition, place.offset) for place in (future.value for future in sent)]

    def close(self) -> None:
        """A transaction that was not committed leaves nothing."""
        producer, self._producer = self._producer, None
        if producer is not None:
            end_producer(producer)

    def _commit(self, records: Iterable[KafkaRecord], sent: list[Any]) -> None:
        if self._producer is None:
            raise KafkaError("not connected")
        self._producer.begin_transaction()
        for record in records:
            future = self._producer.send(record.topic, key=record.key, value=record.value, headers=record.headers)
            sent.append(future)
        _raise_refused(sent)
        settle(self._producer, self._producer._transaction_manager.begin_commit(), lambda: _raise_refused(sent))


def _raise_refused(sent: list[Any]) -> None:
    failure = next((future.exception for future in sent if future.exception is not None), None)
    if failure is not None:
        raise failure


def _refusal(error: KafkaError, sent: list[Any]) -> SupersededError | BrokerUnavailableError:
    """What is to be made of it: rather that a record was too large, since that fails the others of its transaction."""
    failures = [future.exception for future in sent]
    if any(isinstance(failure, FENCED) for failure in (error, *failures)):
        return SupersededError(
            "another assigner has taken over, and what this one had not published is void; "
            "start this one again, and it stands by"
        )
    if isinstance(error, TOO_LARGE) and error not in failures:  # already for the producer
        failures.append(error)
    for index, failure in enumerate(failures):
        if isinstance(failure, TOO_LARGE):
            return TooLargeError(f"publishing: {failure}", index)
    return BrokerUnavailableError(f"publishing: {error!r}")
