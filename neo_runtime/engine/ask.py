"""Ask an engine of this process and wait for the whole answer: for measuring and for tests, not for serving."""

from __future__ import annotations

import queue

from neo_runtime.engine.api import Engine, EngineEvent, Finished, RankedList, Warmed, Work
from neo_runtime.errors import NeoError


def answer(engine: Engine, work: Work, *, timeout_s: float | None = None) -> list[EngineEvent]:
    """Every event of one request; raises the error that ended it, queue.Empty after `timeout_s` without an event."""
    inbox: queue.Queue[EngineEvent | NeoError] = queue.Queue()
    engine.submit(work, inbox.put)
    events: list[EngineEvent] = []
    while not events or not isinstance(events[-1], Finished | RankedList | Warmed):
        event = inbox.get(timeout=timeout_s)
        if isinstance(event, NeoError):
            raise event
        events.append(event)
    return events
