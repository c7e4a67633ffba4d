"""Several engines behind one front end, each a process with its own model: where there are cores or devices for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neo_runtime.engine.api import Engine, EngineLimits, Sink, Work
from neo_runtime.errors import UnavailableError


class Engines:
    """A request goes to the engine that has the least to do, of those that can answer. Looks like one engine."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        """They serve the same. At least one."""
        self._engines = list(engines)
        self._ready = [False] * len(engines)
        self._watchers: list[Callable[[bool], None]] = []
        for number, engine in enumerate(engines):
            engine.watch(lambda is_ready, number=number: self._tell(number, is_ready))  # type: ignore[misc]

    @property
    def limits(self) -> EngineLimits:
        return self._engines[0].limits

    @property
    def running(self) -> int:
        return sum(engine.running for engine in self._engines)

    @property
    def queued(self) -> int:
        return sum(engine.queued for engine in self._engines)

    @property
    def cached_bytes(self) -> int:
        return sum(engine.cached_bytes for engine in self._engines)

    def watch(self, told: Callable[[bool], None]) -> None:
        """Whether any of them can answer."""
        self._watchers.append(told)
        told(any(self._ready))

    def submit(self, work: Work, sink: Sink) -> int:
        able = [number for number, is_ready in enumerate(self._ready) if is_ready]
        if not able:
            raise UnavailableError("the engines are being started", reason="ENGINE_STARTING")
        number = min(able, key=lambda number: self._engines[number].running + self._engines[number].queued)
        return self._engines[number].submit(work, sink) * len(self._engines) + number

    def pause(self, request: int) -> None:
        self._of(request).pause(request // len(self._engines))

    def resume(self, request: int) -> None:
        self._of(request).resume(request // len(self._engines))

    def cancel(self, request: int) -> None:
        self._of(request).cancel(request // len(self._engines))

    def _of(self, request: int) -> Engine:
        return self._engines[request % len(self._engines)]

    def _tell(self, number: int, is_ready: bool) -> None:
        before = any(self._ready)
        self._ready[number] = is_ready
        if any(self._ready) != before:
            for told in self._watchers:
                told(not before)
