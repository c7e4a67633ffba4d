"""Between an engine's thread and one stream's coroutine: ordered, coalescing, bounded.

gRPC's own `write` gives no useful back-pressure for small messages, so the bound is here: a stream whose reader lags
behind is paused, which keeps what it has and costs the others nothing, and after a while it is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from neo_runtime.engine.api import EngineEvent, TextChunk
from neo_runtime.errors import NeoError, SlowClientError

PAUSE_AT, RESUME_AT = 256, 64  # events that wait, each piece of joined text counted
GIVE_UP_S = 30.0


class Flow(Protocol):
    """What an outbox says of its stream to whoever fills it, in its loop. Never while a call of `put` waits for it."""

    def pause(self) -> None:
        """Enough waits to be read."""
        ...

    def resume(self) -> None:
        """There is room again."""
        ...

    def cancel(self) -> None:
        """Nothing more will be read."""
        ...


class Outbox:
    """`put` on any thread, the rest in the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[EngineEvent | NeoError, int]] = deque()  # each with how many it was joined from
        self._waiting = 0
        self._filled = asyncio.Event()
        self._failure: NeoError | None = None
        self._flow: Flow | None = None
        self._patience: asyncio.TimerHandle | None = None

    def follow(self, flow: Flow) -> None:
        """Whom to tell when the reader lags behind."""
        self._flow = flow

    def put(self, event: EngineEvent | NeoError) -> None:
        """Never blocks and never raises: the engine waits for nobody."""
        try:
            self._loop.call_soon_threadsafe(self._append, event)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return

    def _append(self, event: EngineEvent | NeoError) -> None:
        last, pieces = self._events[-1] if self._events else (None, 0)
        if isinstance(event, TextChunk) and isinstance(last, TextChunk):
            self._events[-1] = TextChunk(last.text + event.text), pieces + 1
        else:
            self._events.append((event, 1))
        self._waiting += 1
        if self._waiting >= PAUSE_AT and self._patience is None and self._flow:
            self._patience = self._loop.call_later(GIVE_UP_S, self._give_up)
            self._flow.pause()
        self._filled.set()

    def _give_up(self) -> None:
        assert self._flow
        self._flow.cancel()  # the call itself cannot end yet: it is in the middle of a write that nobody reads
        self.fail(SlowClientError(f"{self._waiting} events were waiting for {GIVE_UP_S:g} s; the stream was stopped"))

    def fail(self, error: NeoError) -> None:
        """The answer ends here, with what still waits unsent. Of several failures the first one counts."""
        self._failure = self._failure or error
        self._filled.set()

    def close(self) -> None:
        """Nothing is read any more."""
        if self._patience:
            self._patience.cancel()

    async def get(self) -> EngineEvent:
        """The next event. Raises what the engine sent as an error, and at once what `fail` was given."""
        while not self._events and self._failure is None:
            self._filled.clear()
            await self._filled.wait()
        if self._failure is not None:
            raise self._failure
        event, pieces = self._events.popleft()
        self._waiting -= pieces
        if self._waiting <= RESUME_AT and self._patience and self._flow:
            self._patience.cancel()
            self._patience = None
            self._flow.resume()
        if isinstance(event, NeoError):
            raise event
        return event
