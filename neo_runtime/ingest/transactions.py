"""A producer that only one process at a time can be, and whose records appear in transactions, whole or not at all.

An epoch in each record would not do: the topic is compacted, so a late record of a paused assigner would push out its
successor's, and followers that ignore it would have neither. The broker itself has to refuse it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError

from neo_runtime.errors import SupersededError
from neo_runtime.ingest.broker import close_quietly, dial, kafka_errors
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.publisher import CLOSE_TIMEOUT_S, PRODUCER_OPTIONS, KafkaDelivery
from neo_runtime.types import Position

# Transactions one after the other wait for `retry_backoff_ms` in between: 110 ms each at the default of 100.
TRANSACTION_OPTIONS: dict[str, Any] = {
    **PRODUCER_OPTIONS,
    "retry_backoff_ms": 1,
    "linger_ms": 1_000,  # a commit sends all at once; sending beside the appending costs more in threads than in time
    "max_block_ms": 10_000,
    "transaction_timeout_ms": 30_000,
}
# From one commit to the next transaction: each costs some ten milliseconds of Python beside the loop, however small.
PAUSE_S = 0.05
FENCED = (ProducerFencedError, InvalidProducerEpochError)


class TransactionalSink:
    """See RecordSink. What is sent between two commits is one transaction; the next waits for the last one's answer.

    `before` is asked whether we may push out another producer of the same id, each time before that is done; `after`
    is called when it is, and before anything is sent: what the other one has written stands then.
    """

    def __init__(
        self, bootstrap: str, transactional_id: str, *, before: Callable[[], None], after: Callable[[], None]
    ) -> None:
        self._bootstrap, self._id, self._before, self._after = bootstrap, transactional_id, before, after
        self._producer: Any = None
        self._open: Transaction | None = None
        self._last: Transaction | None = None
        self._committed_at = 0.0

    def connect(self) -> Any:
        """From here on no other producer of this id gets anything through. BrokerUnavailableError: try again."""
        if self._producer is None:
            dial(self._bootstrap)
            self._before()
            with ExitStack() as undo:
                with kafka_errors(f"publishing to {self._bootstrap}"):
                    producer = KafkaProducer(
                        bootstrap_servers=self._bootstrap, transactional_id=self._id, **TRANSACTION_OPTIONS
                    )
                    undo.callback(end_producer, producer)
                    producer.init_transactions()
                self._after()
                undo.pop_all()
            self._producer = producer
        return self._producer

    def send(self, record: KafkaRecord) -> TransactionDelivery:
        """See RecordSink."""
        producer = self.connect()
        try:
            if self._open is None:
                producer.begin_transaction()
                self._open = Transaction()
            sent = producer.send(record.topic, key=record.key, value=record.value, headers=record.headers)
        except KafkaError:
            self.give_up()
            raise
        return TransactionDelivery(sent, self._open)

    def commit(self) -> None:
        """See RecordSink."""
        if self._open is None:
            return
        transaction, self._open, self._committed_at = self._open, None, time.monotonic()
        try:
            transaction.result = self._producer._transaction_manager.begin_commit()  # commit_transaction would wait
        except KafkaError as error:
            transaction.failure = error
        else:
            self._last = transaction
            self._producer._sender.wakeup()

    def is_busy(self) -> bool:
        """See RecordSink."""
        return self._last is not None and not (self._last.wait(0) and time.monotonic() > self._committed_at + PAUSE_S)

    def give_up(self) -> None:
        """See RecordSink."""
        producer, self._producer = self._producer, None
        open_ones, self._open, self._last = (self._open, self._last), None, None
        if producer is not None:
            end_producer(producer)
        for transaction in open_ones:
            if transaction is not None and not transaction.wait(0):
                transaction.failure = KafkaError("given up")

    def close(self) -> None:
        """See RecordSink. A transaction that was not committed leaves nothing."""
        if self._last is not None:
            self._last.wait(CLOSE_TIMEOUT_S)
        self.give_up()


class Transaction:
    """One commit, and what came of it."""

    def __init__(self) -> None:
        self.result: Any = None
        self.failure: Exception | None = None

    def wait(self, timeout_s: float) -> bool:
        """Whether it has succeeded or failed, after `timeout_s` at most."""
        if self.failure is None and self.result is not None:
            if timeout_s > 0 and not self.result.is_done:
                with suppress(KafkaError):
                    self.result.wait(timeout_ms=timeout_s * 1e3)
            if self.result.is_done:
                self.failure = self.result.exception
        return self.failure is not None or (self.result is not None and self.result.is_done)


class TransactionDelivery:
    """A record that has arrived when its transaction has. Raises SupersededError where another producer took over."""

    def __init__(self, sent: Any, transaction: Transaction) -> None:
        self._sent, self._transaction = KafkaDelivery(sent), transaction

    def wait(self, timeout_s: float) -> bool:
        """See Delivery."""
        failed = self._sent.wait(0) and self._sent.error() is not None
        return failed or self._transaction.wait(timeout_s)

    def error(self) -> Exception | None:
        """See Delivery."""
        error = self._sent.error() or self._transaction.failure
        for failure in (error, self._transaction.failure):
            if isinstance(failure, FENCED):
                raise SupersededError(
                    "another assigner has taken over, and what this one had not published is void; "
                    "start this one again, and it stands by"
                ) from failure
        return error

    def position(self) -> Position:
        """See Delivery."""
        return self._sent.position()


def end_producer(producer: Any) -> None:
    """At once: closing in peace would wait for a broker that may be gone."""
    producer._sender.force_close()
    producer._sender.join(CLOSE_TIMEOUT_S)
    close_quietly(producer, timeout=CLOSE_TIMEOUT_S)
