"""Streams and ranked lists together, arriving at random instants, so many that the engine is busy a part of the time:
what a list waits, and how evenly the texts of a stream come.

How many there are of each to one another is found with always as many of both at work. A list's time begins when it
was due, whatever the engine was doing then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neo_runtime.engine.api import GenerateWork, RankWork, Started, TextChunk
from neo_runtime.engine.local import LocalEngine

STREAMS, LISTS = 8, 2


class Found(NamedTuple):
    """Seconds. `busy`: part of the time that passes took."""

    lists: list[float]
    gaps: list[float]
    streams: int
    busy: float


class Load:
    """One run against an engine without a thread of its own."""

    def __init__(self, engine: LocalEngine, list_work: Callable[[], RankWork], stream_work: Callable[[], GenerateWork]):
        self._engine, self._list_work, self._stream_work = engine, list_work, stream_work
        self._lists, self._gaps = list[float](), list[float]()
        self._streams, self._listing, self._streaming = 0, 0, 0

    def saturated(self, seconds: float) -> Found:
        """Always as many of both."""
        until, began = time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < until:
            while self._streaming < STREAMS:
                self._stream(time.perf_counter())
            while self._listing < LISTS:
                self._list(time.perf_counter())
            self._engine.turn()
        return Found(self._lists, self._gaps, self._streams, (time.perf_counter() - began) / seconds)

    def arriving(self, seconds: float, lists_s: float, streams_s: float, rng: np.random.Generator) -> Found:
        """So many of each in a second, at instants of their own."""
        instants = sorted(
            (due, start)
            for rate, start in ((lists_s, self._list), (streams_s, self._stream))
            for due in np.cumsum(rng.exponential(1 / rate, int(rate * seconds) + 1))
        )
        began, busy = time.perf_counter(), 0.0
        while instants or self._listing or self._streaming:
            now = time.perf_counter()
            while instants and began + instants[0][0] <= now:
                due, start = instants.pop(0)
                start(began + due)
            if self._listing or self._streaming:
                self._engine.turn()
                busy += time.perf_counter() - now
            else:
                time.sleep(max(began + instants[0][0] - time.perf_counter(), 0))
        return Found(self._lists, self._gaps, self._streams, busy / (time.perf_counter() - began))

    def _list(self, due: float) -> None:
        def take(_: object) -> None:
            self._lists.append(time.perf_counter() - due)
            self._listing -= 1

        self._listing += 1
        self._engine.submit(self._list_work(), take)

    def _stream(self, _: float) -> None:
        last = 0.0

        def take(event: object) -> None:
            nonlocal last
            now = time.perf_counter()
            if isinstance(event, TextChunk):
                if last:
                    self._gaps.append(now - last)
                last = now
            elif not isinstance(event, Started):
                self._streaming -= 1
                self._streams += 1

        self._streaming += 1
        self._engine.submit(self._stream_work(), take)
