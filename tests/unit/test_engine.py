"""Answers at their edges: full contexts, shared semantic IDs, odd end tokens, templates and contexts that refuse."""

from __future__ import annotations

import queue
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from neo_runtime.engine.api import (
    Decoding,
    Finished,
    FinishReason,
    GenerateWork,
    OutputFormat,
    RankWork,
    Span,
    Work,
)
from neo_runtime.engine.context import Context
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.request import Decoder
from neo_runtime.errors import InvalidRequestError, PromptTooLongError
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.trie.step import Floats
from neo_runtime.types import ItemKey
from tests.kit import running, tiny


def ask(text: str) -> Conversation:
    return Conversation((Turn("user", (text,)),))


def test_a_prompt_that_leaves_no_room_is_refused_instead_of_answered_with_nothing(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 5)
    with running.engine(tiny.model(), catalog.reader) as engine:
        for size in range(240, 256):
            try:
                events = running.answer(engine, GenerateWork(ask("a" * size), decoding=Decoding(max_output_tokens=1)))
            except PromptTooLongError:
                continue
            finish = events[-1]
            assert isinstance(finish, Finished)
            assert finish.usage.text_tokens or finish.reason is not FinishReason.MAX_TOKENS
    catalog.close()


def test_items_that_share_a_semantic_id_are_named_once_in_an_answer(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 0, policy=CollisionPolicy.SHARE)
    place = tiny.vector(ItemKey("film", "x"))
    catalog.apply([replace(tiny.upsert(f"film/{n}", popularity=n / 10), embedding=place) for n in range(3)])
    model = tiny.model()
    model.lm.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    with running.engine(model, catalog.reader) as engine:
        events = running.answer(engine, GenerateWork(ask("hi"), format=OutputFormat.ITEMS_ONLY))
    assert [event.ranked[0].item_ids for event in events if isinstance(event, Span)] == [("2", "1", "0")]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.NO_ELIGIBLE_ITEM
    catalog.close()


def test_end_tokens_past_the_text_end_nothing(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 5)
    model = tiny.model()
    end, opening = model.tokenizer.eos_token_id, model.vocabulary.span_open
    model.lm.generation_config.eos_token_id = [end, opening, opening + 5, 10**6]
    with running.engine(model, catalog.reader) as engine:
        work = GenerateWork(ask("hi"), decoding=Decoding(max_items=2), format=OutputFormat.ITEMS_ONLY)
        events = running.answer(engine, work)
    assert any(isinstance(event, Span) for event in events)
    catalog.close()


def test_a_conversation_that_the_template_refuses_is_the_clients_to_change(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 5)
    model = tiny.model()
    model.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with (
        running.engine(model, catalog.reader) as engine,
        pytest.raises(InvalidRequestError, match="roles must alternate"),
    ):
        running.answer(engine, GenerateWork(ask("hi")))
    catalog.close()


class NoModel:
    def run(self, feeds: Sequence[Feed]) -> list[list[Floats]]:
        return [[] for _ in feeds]


class FailingDecoder:
    """Its requests never end, and cannot be closed."""

    backbone, max_running, max_tokens = NoModel(), 1, 1_000

    def tokens(self, work: Work, prompt: int) -> int:
        return prompt

    def decode(self, work: Work, queued_at: float) -> Generator[Feed, list[Floats], None]:
        token = np.zeros(1, np.int64)
        try:
            while True:
                yield Feed(cast("Context", None), token, token, 0, None, ())
        finally:
            raise RuntimeError("the device is gone")


def test_a_context_that_cannot_be_freed_does_not_end_the_engine() -> None:
    engine = LocalEngine(cast("Decoder", FailingDecoder()))
    for _ in range(2):
        number = engine.submit(RankWork(ask("hi")), lambda event: None)
        deadline = time.monotonic() + 10
        while engine.queued:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        engine.cancel(number)
        while engine.running:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    engine.stop()


def test_a_paused_stream_rests_and_goes_on_while_others_run(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 5)
    with running.engine(tiny.model(), catalog.reader) as engine:
        inbox: queue.Queue[object] = queue.Queue()
        work = GenerateWork(ask("hi"), decoding=Decoding(max_output_tokens=60, temperature=3.0, seed=1))
        expected = [event for event in running.answer(engine, work) if not isinstance(event, Finished)]
        number = engine.submit(work, inbox.put)
        events = [inbox.get(timeout=60)]
        engine.pause(number)
        for _ in range(3):
            assert running.answer(engine, RankWork(ask("hi")))
        waiting = inbox.qsize()
        assert running.answer(engine, RankWork(ask("hi")))
        assert inbox.qsize() == waiting, "nothing comes of a paused stream"
        engine.resume(number)
        while not isinstance(events[-1], Finished):
            events.append(inbox.get(timeout=60))
        assert events[:-1] == expected
        number = engine.submit(work, inbox.put)
        engine.pause(number)
        engine.cancel(number)
        deadline = time.monotonic() + 10
        while engine.running:
            assert time.monotonic() < deadline, "a paused stream can be cancelled"
            time.sleep(0.01)
    catalog.close()
