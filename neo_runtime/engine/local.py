"""An engine in this process. Continuous batching: every pass through the model takes what all running
requests have to feed: the next token of every stream, the beams of every span and ranked list, and of prompts as much
as the pass has room for, so that a long one does not hold up the others.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from neo_runtime.engine.api import EngineLimits, GenerateWork, Sink, WarmWork, Work
from neo_runtime.engine.pace import Pace, PaceMeter
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.request import Decoder, Steps
from neo_runtime.errors import NeoError, OverloadedError, UnavailableError
from neo_runtime.trie.step import Floats

_log = structlog.get_logger(__name__)
_STEP_TOKENS = 512  # of a pass: enough for the model's matrices to be used well
_STREAM_STEP_FACTOR = 2.5  # where streams wait for their next tokens, passes take so much longer than without prompts
_LEAST_PROMPT_TOKENS = 32  # however many beams there are, prompts move on


@dataclass(slots=True)
class _Job:
    number: int
    work: Work
    sink: Sink
    queued_at: float
    steps: Steps[None] | None = None
    feed: Feed | None = None
    fed: int = 0  # rows of the feed
    reserved: int = 0  # tokens whose keys and values it may need; 0: it has not begun to feed

    @property
    def is_prompt(self) -> bool:
        """Whether what is left to feed may be fed in parts."""
        return self.feed is not None and self.feed.visible is None and self.feed.tokens.size - self.fed > 1

    @property
    def is_warming(self) -> bool:
        return isinstance(self.work, WarmWork)


class LocalEngine:
    """As many requests as the decoder takes run, `max_queued` wait, the rest is refused. Beside them one prompt is
    warmed, and as many wait for that."""

    def __init__(
        self, decoder: Decoder, *, max_queued: int = 256, after_pass: Callable[[], None] = lambda: None,
        has_thread: bool = True,
    ) -> None:  # fmt: skip
        """`after_pass` is called on the engine's thread when all sinks have been called for what a pass brought.

        Without a thread of its own, somebody calls `run` or `turn`: on the thread that made the decoder they are up to
        1.5 times as fast, since OpenMP lets its threads sleep between any two products once two threads use it.
        """
        self._decoder, self._max_queued, self._after_pass = decoder, max_queued, after_pass
        self.pace = PaceMeter()
        self._changed = threading.Condition()
        self._queue, self._to_warm = deque[_Job](), deque[_Job]()
        self._active: dict[int, _Job] = {}
        self._cancelled: set[int] = set()
        self._paused: set[int] = set()
        self._numbers = itertools.count(1)
        self._stopping = False
        self._thread = threading.Thread(target=self.run, name="neo-engine", daemon=True) if has_thread else None
        if self._thread:
            self._thread.start()

    @property
    def limits(self) -> EngineLimits:
        return self._decoder.limits

    @property
    def running(self) -> int:
        return len(self._active)

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._to_warm)

    @property
    def cached_bytes(self) -> int:
        cache = self._decoder.backbone.cache
        return cache.nbytes if cache else 0

    def watch(self, told: Callable[[bool], None]) -> None:
        told(True)

    def submit(self, work: Work, sink: Sink) -> int:
        with self._changed:
            if self._stopping:
                raise UnavailableError("the engine is stopping")
            job = _Job(next(self._numbers), work, sink, time.monotonic())
            queue = self._to_warm if job.is_warming else self._queue
            if len(queue) >= self._max_queued:
                raise OverloadedError(f"{self._max_queued} requests are waiting already")
            queue.append(job)
            self._changed.notify()
            return job.number

    def pause(self, request: int) -> None:
        with self._changed:
            if request in self._active or any(job.number == request for job in self._queue):
                self._paused.add(request)

    def resume(self, request: int) -> None:
        with self._changed:
            self._paused.discard(request)
            self._changed.notify()

    def cancel(self, request: int) -> None:
        with self._changed:
            for queue in (self._queue, self._to_warm):
                for job in [job for job in queue if job.number == request]:
                    queue.remove(job)
                    self._paused.discard(request)
            if request in self._active:
                self._cancelled.add(request)
                self._changed.notify()

    def stop(self) -> None:
        """End after the pass in hand; what still runs gets UnavailableError."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def run(self) -> None:
        """Until `stop`, which another thread calls."""
        while self._admit(waits=True):
            self._turn()
        for job in [*self._active.values(), *self._queue, *self._to_warm]:
            self._end(job)
            job.sink(UnavailableError("the engine stopped"))
        self._after_pass()

    def turn(self) -> None:
        """One pass, if there is anything to do."""
        self._admit(waits=False)
        self._turn()

    def _turn(self) -> None:
        for job in list(self._active.values()):
            if job.number in self._cancelled:
                self._end(job)
            elif job.feed is None:
                self._advance(job, None)
        self._pass()
        self._after_pass()

    def _pass(self) -> None:
        """One for all that have something to feed."""
        ready = [job for job in self._active.values() if job.feed is not None and job.number not in self._paused]
        jobs, parts = _packed([job for job in ready if self._has_memory(job)], self.pace.pace)
        if not jobs:
            return
        began = time.perf_counter()
        try:
            answers = self._decoder.backbone.run(parts)
        except Exception:  # memory, or a device that is gone: what was in the pass is lost, later ones may do
            for job in jobs:
                self._fail(job)
            return
        for job, part, answer in zip(jobs, parts, answers, strict=True):
            assert job.feed is not None
            job.fed += part.tokens.size
            if job.fed == job.feed.tokens.size:
                job.feed, job.fed = None, 0
                self._advance(job, answer)
        self.pace.take(sum(part.tokens.size for part in parts), time.perf_counter() - began)

    def _has_memory(self, job: _Job) -> bool:
        """For all that it may need; from then on it is kept for it. Whoever waits for it begins in the order of
        coming; one alone may have everything.
        """
        if job.reserved:
            return True
        assert job.feed
        needed = self._decoder.tokens(job.work, job.feed.start + len(job.feed))
        reserved = sum(other.reserved for other in self._active.values())
        is_later = any(
            not other.reserved and (other.is_warming, other.number) < (job.is_warming, job.number)
            for other in self._active.values()
        )
        if reserved and (is_later or reserved + needed > self._decoder.max_tokens):
            return False
        job.reserved = needed
        return True

    def _admit(self, *, waits: bool) -> bool:
        """Move waiting requests in; sleep while there is nothing to do. False: stop."""
        with self._changed:
            while waits and not (
                self._stopping or self._cancelled or self._active.keys() - self._paused or self._next_queue()
            ):
                self._changed.wait()
            while queue := self._next_queue():
                job = queue.popleft()
                self._active[job.number] = job
            return not self._stopping

    def _next_queue(self) -> deque[_Job] | None:
        """Where a job waits that there is room for: one more for what is warmed."""
        warming = sum(job.is_warming for job in self._active.values())
        if self._queue and len(self._active) - warming < self._decoder.max_running:
            return self._queue
        return self._to_warm if self._to_warm and not warming else None

    def _advance(self, job: _Job, answer: list[Floats] | None) -> None:
        """Up to the next feed, or to the end."""
        try:
            if job.steps is None:
                job.steps = self._decoder.decode(job.work, job.queued_at)
            found = job.steps.send(answer)  # type: ignore[arg-type]
            while not isinstance(found, Feed):
                job.sink(found)
                found = next(job.steps)
            job.feed = found
        except StopIteration:
            self._end(job)
        except NeoError as error:
            self._end(job)
            job.sink(error)
        except Exception:  # one request must not end the others
            self._fail(job)

    def _fail(self, job: _Job) -> None:
        """While an exception is handled."""
        incident = uuid.uuid4().hex[:12]
        _log.exception("request failed", incident=incident, work=type(job.work).__name__)
        self._end(job)
        job.sink(NeoError(f"internal error, incident {incident}", reason="INVARIANT_VIOLATED"))

    def _end(self, job: _Job) -> None:
        if job.steps is not None:
            try:
                job.steps.close()  # its context is free now, not at some collection
            except Exception:  # a device that fails while one context is cut must not end the thread of all
                _log.exception("context not closed", request=job.number)
        with self._changed:
            self._active.pop(job.number, None)
            self._cancelled.discard(job.number)
            self._paused.discard(job.number)


def _packed(jobs: list[_Job], pace: Pace) -> tuple[list[_Job], list[Feed]]:
    """What goes into the next pass: all that is small, and then prompts, oldest first, as far as there is room; last
    what is warmed, of which requests beside it notice little."""
    small = [job for job in jobs if not job.is_prompt]
    streams, limit = sum(isinstance(job.work, GenerateWork) for job in small), _STEP_TOKENS
    if streams:
        limit = pace.rows_within(_STREAM_STEP_FACTOR * pace.seconds(streams), _STEP_TOKENS)
    chosen, parts, rows = list[_Job](), list[Feed](), 0
    for job in small:
        assert job.feed is not None
        part = job.feed.part(job.fed, len(job.feed)) if job.fed else job.feed
        chosen.append(job)
        parts.append(part)
        rows += part.tokens.size
    limit = max(limit, rows + _LEAST_PROMPT_TOKENS)
    prompts = [job for job in jobs if job.is_prompt]
    for job in sorted(prompts, key=lambda job: job.is_warming):
        room = limit - rows
        if job.is_warming and parts:
            room = min(room, _LEAST_PROMPT_TOKENS)
        if room > 0:
            assert job.feed is not None
            part = job.feed.part(job.fed, min(job.fed + room, len(job.feed)))
            chosen.append(job)
            parts.append(part)
            rows += part.tokens.size
    return chosen, parts
