"""Wait for room: while the disk or LMDB's map is full nothing is consumed, and what is in hand is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from neo_runtime.errors import StorageError
from neo_runtime.observability import metrics

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 5.0

_log = structlog.get_logger(__name__)


class StorageOutage:
    """One log line when there is no room, one when there is again; `neo_catalog_writable` says the same."""

    def __init__(self, stop: threading.Event) -> None:
        self._since: float | None = None
        self._stop = stop
        metrics.CATALOG_WRITABLE.set(1)

    def waited_out(self, write: Callable[[], None]) -> None:
        """`write`, again and again until there was room for it. RetryError once the stop event is set."""
        Retrying(
            retry=retry_if_exception_type(StorageError),
            wait=wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._note,
        )(write)
        if self._since is not None:
            _log.info("catalog is written again", seconds_waited=round(time.monotonic() - self._since, 1))
            metrics.CATALOG_WRITABLE.set(1)
            self._since = None

    def _note(self, state: RetryCallState) -> None:
        if self._since is None:
            self._since = time.monotonic()
            metrics.CATALOG_WRITABLE.set(0)
            error = state.outcome.exception() if state.outcome else None
            _log.warning("waiting for room, nothing is lost", error=str(error))
