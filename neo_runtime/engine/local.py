"""An engine on a thread of this process: requests take turns, one pass through the model each.

Correct before fast: passes are not shared between requests yet. The interface (`api.Engine`) is the one that a batching
engine in its own process will fill.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

import structlog

from neo_runtime.engine.api import EngineEvent, EngineLimits, GenerateWork, RankWork, Sink
from neo_runtime.engine.request import Decoder
from neo_runtime.errors import NeoError, OverloadedError, UnavailableError

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    number: int
    work: GenerateWork | RankWork
    sink: Sink
    queued_at: float
    events: Generator[EngineEvent | None, None, None] | None = None


class LocalEngine:
    """`max_running` requests take turns, `max_queued` wait, the rest is refused."""

    def __init__(self, decoder: Decoder, *, max_running: int = 32, max_queued: int = 256) -> None:
        self._decoder, self._max_running, self._max_queued = decoder, max_running, max_queued
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._active: dict[int, _Job] = {}
        self._cancelled: set[int] = set()
        self._numbers = itertools.count(1)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="neo-engine", daemon=True)
        self._thread.start()

    @property
    def limits(self) -> EngineLimits:
        return self._decoder.limits

    @property
    def running(self) -> int:
        return len(self._active)

    @property
    def queued(self) -> int:
        return len(self._queue)

    def submit(self, work: GenerateWork | RankWork, sink: Sink) -> int:
        with self._changed:
            if self._stopping:
                raise UnavailableError("the engine is stopping")
            if len(self._queue) >= self._max_queued:
                raise OverloadedError(f"{self._max_queued} requests are waiting already")
            job = _Job(next(self._numbers), work, sink, time.monotonic())
            self._queue.append(job)
            self._changed.notify()
            return job.number

    def cancel(self, request: int) -> None:
        with self._changed:
            waiting = [job for job in self._queue if job.number == request]
            for job in waiting:
                self._queue.remove(job)
            if request in self._active:
                self._cancelled.add(request)

    def stop(self) -> None:
        """End the thread after the pass in hand; what still runs gets UnavailableError."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            for job in list(self._active.values()):
                if job.number in self._cancelled:
                    self._end(job)
                else:
                    self._advance(job)
        for job in [*self._active.values(), *self._queue]:
            self._end(job)
            job.sink(UnavailableError("the engine stopped"))

    def _admit(self) -> bool:
        """Move waiting requests in; sleep while there is nothing to do. False: stop."""
        with self._changed:
            while not (self._stopping or self._active or self._queue):
                self._changed.wait()
            while self._queue and len(self._active) < self._max_running:
                job = self._queue.popleft()
                self._active[job.number] = job
            return not self._stopping

    def _advance(self, job: _Job) -> None:
        """One pass of one request."""
        try:
            if job.events is None:
                job.events = self._decoder.decode(job.work, job.queued_at)
            event = next(job.events)
            if event is not None:
                job.sink(event)
        except StopIteration:
            self._end(job)
        except NeoError as error:
            self._end(job)
            job.sink(error)
        except Exception:  # one request must not end the others
            incident = uuid.uuid4().hex[:12]
            _log.exception("request failed", incident=incident, work=type(job.work).__name__)
            self._end(job)
            job.sink(NeoError(f"internal error, incident {incident}", reason="INVARIANT_VIOLATED"))

    def _end(self, job: _Job) -> None:
        if job.events is not None:
            try:
                job.events.close()  # its context is free now, not at some collection
            except Exception:  # a device that fails while one context is cut must not end the thread of all
                _log.exception("context not closed", request=job.number)
        with self._changed:
            self._active.pop(job.number, None)
            self._cancelled.discard(job.number)
