"""An outbox: order, joined text, and a reader that lags behind."""

from __future__ import annotations

import asyncio

import pytest

from neo_runtime.engine.api import Started, TextChunk
from neo_runtime.errors import SlowClientError, UnavailableError
from neo_runtime.serving import outbox as module
from neo_runtime.serving.outbox import PAUSE_AT, RESUME_AT, Outbox


class Told:
    def __init__(self) -> None:
        self.said: list[str] = []

    def pause(self) -> None:
        self.said.append("pause")

    def resume(self) -> None:
        self.said.append("resume")

    def cancel(self) -> None:
        self.said.append("cancel")


async def test_text_that_waits_is_joined_and_everything_stays_in_order() -> None:
    outbox = Outbox()
    started = Started(1, "s", 0)
    for event in (TextChunk("a"), TextChunk("b"), started, TextChunk("c")):
        outbox.put(event)
    await asyncio.sleep(0)
    assert [await outbox.get() for _ in range(3)] == [TextChunk("ab"), started, TextChunk("c")]


async def test_a_lagging_reader_pauses_the_stream_until_it_has_caught_up() -> None:
    outbox, told = Outbox(), Told()
    outbox.follow(told)
    for number in range(PAUSE_AT + 3):
        outbox.put(Started(number, "s", 0))
    await asyncio.sleep(0)
    assert told.said == ["pause"]
    for number in range(PAUSE_AT + 3 - RESUME_AT):
        assert told.said == ["pause"]
        assert await outbox.get() == Started(number, "s", 0)
    assert told.said == ["pause", "resume"]
    for _ in range(PAUSE_AT):
        outbox.put(TextChunk("x"))
    await asyncio.sleep(0)
    assert told.said == ["pause", "resume", "pause"], "pieces of joined text count"
    outbox.close()


async def test_a_reader_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVE_UP_S", 0.01)
    outbox, told = Outbox(), Told()
    outbox.follow(told)
    for _ in range(PAUSE_AT):
        outbox.put(TextChunk("x"))
    await asyncio.sleep(0.05)
    assert told.said == ["pause", "cancel"], "the engine is free of it before the reader is told"
    outbox.fail(UnavailableError("later"))
    with pytest.raises(SlowClientError, match="waiting"):
        await outbox.get()


async def test_a_failure_comes_before_what_waits() -> None:
    outbox = Outbox()
    outbox.put(TextChunk("x"))
    await asyncio.sleep(0)
    outbox.fail(UnavailableError("gone"))
    with pytest.raises(UnavailableError):
        await outbox.get()
