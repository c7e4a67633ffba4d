"""Between the engine's thread and one stream's coroutine: ordered, coalescing, bounded.

gRPC's own `write` gives no useful back-pressure for small messages, so the bound is here: text that waits is joined,
and a stream whose events still pile up is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque

from neo_runtime.engine.api import EngineEvent, TextChunk
from neo_runtime.errors import NeoError, SlowClientError

MAX_EVENTS = 1_024
MAX_TEXT_CHARS = 1_000_000


class Outbox:
    """`put` on any thread, `get` in the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[EngineEvent | NeoError] = deque()
        self._filled = asyncio.Event()
        self._failure: NeoError | None = None

    def put(self, event: EngineEvent | NeoError) -> None:
        """Never blocks and never raises: the engine waits for nobody."""
        try:
            self._loop.call_soon_threadsafe(self._append, event)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return

    def _append(self, event: EngineEvent | NeoError) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(event, TextChunk) and isinstance(last, TextChunk) and len(last.text) < MAX_TEXT_CHARS:
            self._events[-1] = TextChunk(last.text + event.text)
        elif len(self._events) < MAX_EVENTS:
            self._events.append(event)
        else:
            self.fail(SlowClientError(f"{MAX_EVENTS} events are waiting to be read; the stream was stopped"))
        self._filled.set()

    def fail(self, error: NeoError) -> None:
        """In the loop: the answer ends here, with what still waits unsent."""
        self._failure = error
        self._filled.set()

    async def get(self) -> EngineEvent:
        """The next event. Raises what the engine sent as an error, and at once what `fail` was given."""
        while not self._events and self._failure is None:
            self._filled.clear()
            await self._filled.wait()
        if self._failure is not None:
            raise self._failure
        event = self._events.popleft()
        if isinstance(event, NeoError):
            raise event
        return event
