"""Prompts that are warmed: requests go first, what was done is kept, and a worker that keeps nothing says so."""

from __future__ import annotations

import queue
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from neo_runtime.engine import request
from neo_runtime.engine.api import EngineEvent, GenerateWork, RankedList, RankWork, Warmed, WarmWork, Work
from neo_runtime.engine.backbone import PlainBackbone
from neo_runtime.engine.context import Context
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.pace import Pace, PaceMeter
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.request import Decoder
from neo_runtime.errors import NeoError, OverloadedError, PrefixCacheError, PromptTooLongError
from neo_runtime.prompt.message import Conversation, Task, TaskPrompt, Turn
from neo_runtime.trie.step import Floats
from neo_runtime.types import ItemKey
from tests.kit import running, tiny

RECOMMEND = TaskPrompt(Task.RECOMMEND, "film")
HISTORY = tuple(ItemKey("book", f"b{number}") for number in range(12))
WARMED = Warmed(0, 0, 0, "", 0)


def asking(text: str) -> Conversation:
    return Conversation((Turn("user", (text,)),))


class Passes:
    """A model that computes nothing: of each pass, the rows of each kind of work. `cache`: as a backbone has it."""

    cache = None

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = []

    def run(self, feeds: Sequence[Feed]) -> list[list[Floats]]:
        self.rows.append({str(feed.context): len(feed) for feed in feeds})
        time.sleep(0.001)
        return [[] for _ in feeds]


class Rows:
    """A decoder whose streams never end, whose lists have a prompt of 2,000 tokens, and that warms 100."""

    def __init__(self, max_running: int = 4) -> None:
        self.backbone, self.max_running, self.max_tokens = Passes(), max_running, 1_000_000

    def tokens(self, work: Work, prompt: int) -> int:
        return prompt

    def decode(self, work: Work, queued_at: float) -> Generator[EngineEvent | Feed, list[Floats], None]:
        name = type(work).__name__
        while isinstance(work, GenerateWork):
            yield _line(name, 1)
        if isinstance(work, RankWork):
            yield _line(name, 2_000)
        yield _line(name, 100)
        yield WARMED


def _line(name: str, rows: int) -> Feed:
    tokens = np.zeros(rows, np.int64)
    return Feed(cast("Context", name), tokens, tokens, 0, None, ())


class SteadyPace(PaceMeter):
    """Passes of up to 150 rows take no more than two and a half times as long as those of one."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace(1e-3, 1e-5)

    def take(self, rows: int, seconds: float) -> None:
        pass


MOST_ROWS = 152


def wait_for(events: queue.Queue[EngineEvent | NeoError]) -> None:
    assert events.get(timeout=20) is WARMED


def test_requests_go_first_and_a_stream_hardly_notices() -> None:
    decoder, ranked, warmed = Rows(), queue.Queue[EngineEvent | NeoError](), queue.Queue[EngineEvent | NeoError]()
    engine = LocalEngine(cast("Decoder", decoder))
    engine.pace = SteadyPace()
    engine.submit(GenerateWork(asking("hi")), lambda event: None)
    engine.submit(WarmWork(asking("hi")), warmed.put)
    engine.submit(RankWork(asking("hi")), ranked.put)
    wait_for(ranked)
    wait_for(warmed)
    engine.stop()
    beside = [rows for rows in decoder.backbone.rows if "WarmWork" in rows and len(rows) > 1]
    assert beside
    assert max(rows["WarmWork"] for rows in beside) <= 32
    assert max(sum(rows.values()) for rows in beside) <= MOST_ROWS
    prompts = [rows for rows in decoder.backbone.rows if rows.get("RankWork", 0) + 1 == MOST_ROWS]
    assert len(prompts) >= 12, "where a prompt fills the pass"
    assert not any("WarmWork" in rows for rows in prompts)


def test_what_is_warmed_takes_no_place_of_a_request() -> None:
    decoder, events = Rows(max_running=1), queue.Queue[EngineEvent | NeoError]()
    engine = LocalEngine(cast("Decoder", decoder), max_queued=2)
    stream = engine.submit(GenerateWork(asking("hi")), lambda event: None)
    warmed = [engine.submit(WarmWork(asking("hi")), events.put) for _ in range(2)]
    for _ in warmed:
        wait_for(events)
    engine.cancel(stream)
    engine.submit(RankWork(asking("hi")), events.put)
    wait_for(events)
    engine.stop()


def test_too_many_that_wait_are_refused_and_requests_are_not() -> None:
    engine = LocalEngine(cast("Decoder", Rows()), max_queued=2)
    with engine._changed:  # so that none is taken up
        numbers = [engine.submit(WarmWork(asking("hi")), lambda event: None) for _ in range(2)]
        with pytest.raises(OverloadedError):
            engine.submit(WarmWork(asking("hi")), lambda event: None)
    events: queue.Queue[EngineEvent | NeoError] = queue.Queue()
    engine.submit(RankWork(asking("hi")), events.put)
    wait_for(events)
    for number in numbers:
        engine.cancel(number)
    engine.stop()


def test_the_request_feeds_only_what_is_new(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    with running.engine(tiny.model(), catalog.reader, cache_bytes=10**8) as engine:
        (first,) = running.answer(engine, WarmWork(RECOMMEND, (*HISTORY, ItemKey("book", "never-seen"))))
        (second,) = running.answer(engine, WarmWork(RECOMMEND, HISTORY))
        assert isinstance(first, Warmed)
        assert isinstance(second, Warmed)
        assert (first.cached_prompt_tokens, first.unknown_history) == (0, 1)
        assert (second.prompt_tokens, second.cached_prompt_tokens) == (first.prompt_tokens, first.prompt_tokens)
        (ranked,) = running.answer(engine, RankWork(RECOMMEND, HISTORY))
        assert isinstance(ranked, RankedList)
        assert ranked.usage.prompt_tokens == ranked.usage.cached_prompt_tokens == first.prompt_tokens
        (longer,) = running.answer(engine, RankWork(RECOMMEND, (*HISTORY, ItemKey("artist", "a1"))))
        assert isinstance(longer, RankedList)
        assert 4 * len(HISTORY) <= longer.usage.cached_prompt_tokens < longer.usage.prompt_tokens
    catalog.close()


def test_a_conversation_is_warmed_up_to_where_it_goes_on(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    turns = (Turn("system", ("Be brief.",)), Turn("user", ("Something like ", HISTORY[0])), Turn("assistant", ("No.",)))
    with running.engine(tiny.model(), catalog.reader, cache_bytes=10**8) as engine:
        for length in (1, 3):
            (warmed,) = running.answer(engine, WarmWork(Conversation(turns[:length])))
            assert isinstance(warmed, Warmed)
            (ranked,) = running.answer(engine, RankWork(Conversation((*turns[:length], Turn("user", ("Why?",))))))
            assert isinstance(ranked, RankedList)
            assert ranked.usage.cached_prompt_tokens == warmed.prompt_tokens
    catalog.close()


def test_what_was_fed_of_a_warming_that_is_cut_short_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_WARM_STEP_TOKENS", 8)
    catalog = tiny.catalog(tmp_path / "c", 20)
    decoder = Decoder(tiny.model(), catalog.reader, running.LIMITS, max_running=1, cache_bytes=10**8)
    running_request = decoder.decode(RankWork(asking("hi")), time.monotonic())
    next(running_request)  # has the one context that requests have
    steps = decoder.decode(WarmWork(RECOMMEND, HISTORY), time.monotonic())
    feed = next(steps)
    for _ in range(2):
        assert isinstance(feed, Feed)
        assert len(feed) == 8
        feed = steps.send(*decoder.backbone.run([feed]))
    steps.close()
    running_request.close()
    engine = LocalEngine(decoder)
    (ranked,) = running.answer(engine, RankWork(RECOMMEND, HISTORY))
    engine.stop()
    assert isinstance(ranked, RankedList)
    assert ranked.usage.cached_prompt_tokens == 16
    catalog.close()


def test_a_prompt_that_no_request_could_have_is_refused(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 5)
    with (
        running.engine(tiny.model(), catalog.reader, cache_bytes=10**8) as engine,
        pytest.raises(PromptTooLongError),
    ):
        running.answer(engine, WarmWork(asking("a" * 252)))
    catalog.close()


@pytest.mark.parametrize(("is_packed", "way_out"), [(True, "prefix_cache_mb"), (False, "without warming")])
def test_a_worker_that_remembers_nothing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_packed: bool, way_out: str
) -> None:
    if not is_packed:
        monkeypatch.setattr(request, "backbone_of", lambda lm, **_: PlainBackbone(lm))
    catalog = tiny.catalog(tmp_path / "c", 5)
    with running.engine(tiny.model(), catalog.reader) as engine:
        with pytest.raises(PrefixCacheError, match=way_out):
            running.answer(engine, WarmWork(RECOMMEND))
        assert engine.cached_bytes == 0
    catalog.close()
