"""What every Kafka client here shares: its options, one error for a broker that is away, and the wait for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from kafka import errors
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from neo_runtime.errors import NeoError, StartupError

# Every option that is ours to choose, since the defaults reconnect after half a minute and wait as long for a broker.
CLIENT_OPTIONS: dict[str, Any] = {
    "client_id": "neo-runtime",
    "bootstrap_timeout_ms": 5_000,
    "request_timeout_ms": 10_000,
    "connections_max_idle_ms": 540_000,
    "metadata_max_age_ms": 30_000,
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 1_000,
    "retry_backoff_ms": 20,
    "security_protocol": "PLAINTEXT",
}
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
TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
DIAL_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 2.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 2.0

_log = structlog.get_logger(__name__)


class BrokerUnavailableError(NeoError):
    """Kafka does not answer, or refuses for now. Nothing is lost: try again."""

    reason = "BROKER_UNAVAILABLE"


def dial(bootstrap: str) -> None:
    """BrokerUnavailableError where no address accepts: a Kafka client that finds nobody leaves a thread behind."""
    problem: OSError | ValueError = ValueError("no address given")
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            problem = error
        else:
            return
    raise BrokerUnavailableError(f"no Kafka broker answers at {bootstrap!r}: {problem}")


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """kafka-python's errors as ours: BrokerUnavailableError where waiting helps, StartupError where it does not."""
    try:
        yield
    except errors.KafkaError as error:
        kind = BrokerUnavailableError if error.retriable else StartupError
        raise kind(f"{doing}: {error}") from error


class Outage:
    """One log line when the broker goes away, one when it is back. `count` outages so far."""

    def __init__(self, stop: threading.Event) -> None:
        self.count = 0
        self._since: float | None = None
        self._stop = stop

    def retrying(self) -> Retrying:
        """Repeats a call until it meets a broker. RetryError once the stop event is set."""
        return Retrying(
            retry=retry_if_exception_type(BrokerUnavailableError),
            wait=wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._note,
        )

    def over(self) -> None:
        """The broker has answered."""
        if self._since is not None:
            _log.info("broker is back", seconds_away=round(time.monotonic() - self._since, 1))
            self._since = None

    def _note(self, state: RetryCallState) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self.count += 1
            error = state.outcome.exception() if state.outcome else None
            _log.warning("broker is away", error=str(error))


def close_quietly(client: Any, **options: Any) -> None:
    """A client whose broker may be gone: what it still had to say does not matter any more."""
    with suppress(errors.KafkaError):
        client.close(**options)


def end_producer(producer: Any) -> None:
    """At once: closing in peace would wait for a broker that may be gone."""
    producer._sender.force_close()
    producer._sender.join(CLOSE_TIMEOUT_S)
    close_quietly(producer, timeout=CLOSE_TIMEOUT_S)
