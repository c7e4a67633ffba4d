"""Answers of a whole engine under random constraints over random catalogs, against a look at every single item."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.reader import Pinned
from neo_runtime.engine.api import (
    Decoding,
    EngineEvent,
    Finished,
    FinishReason,
    GenerateWork,
    OutputFormat,
    RankedList,
    RankWork,
    Span,
    Started,
    TextChunk,
)
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.errors import NoEligibleItemError
from neo_runtime.prompt.message import Conversation, Task, TaskPrompt, Turn
from neo_runtime.types import ItemKey
from tests.kit import permitted, running, tiny
from tests.kit.permitted import KEYS, TYPES, Reference, Told

# Of two types it says what it was trained on: most of their items are new to it.
LEARNED = {"film": np.array([0, 1, 6, 11], np.uint64), "book": np.array([1, 5], np.uint64)}
MODEL = replace(tiny.model(types=TYPES), learned=LEARNED)
CONTROL = [*MODEL.vocabulary.new_tokens(), *MODEL.tokenizer.all_special_tokens]
STOPS = ["Y", "YYY", "\0never"]  # one of the words that are left, see `engine`
PROMPTS = st.sampled_from(
    [Conversation((Turn("user", ("Say something of items.",)),)), *(TaskPrompt(Task.RECOMMEND, name) for name in TYPES)]
)
HISTORIES = st.lists(st.sampled_from(KEYS), max_size=5).map(tuple)
DECODINGS = st.builds(
    Decoding,
    max_output_tokens=st.sampled_from([1, 2, 12, 30, 40]),
    max_items=st.sampled_from([0, 1, 3, 6, 16]),
    temperature=st.sampled_from([0.0, 0.7, 2.0, 10.0]),
    top_p=st.sampled_from([0.2, 0.9, 1.0]),
    top_k=st.sampled_from([0, 0, 1, 50, 2**32 - 1]),
    seed=st.integers(0, 2**64 - 1),
    stop_sequences=st.lists(st.sampled_from(STOPS), max_size=2).map(tuple),
    beam_width=st.sampled_from([1, 1, 2, 3, 8, 64]),
)
BONUSES = st.sampled_from([0.0, 3.0, -10.0])
FORMATS = st.sampled_from([OutputFormat.ITEMS_ONLY, *OutputFormat])
GENERATE = st.builds(
    GenerateWork,
    PROMPTS,
    HISTORIES,
    permitted.constraints(),
    DECODINGS,
    FORMATS,
    st.integers(0, 4),
    BONUSES,
)
RANK = st.builds(RankWork, PROMPTS, HISTORIES, permitted.constraints(), st.sampled_from([1, 4, 30, 30]), BONUSES)
Said = list[EngineEvent] | NoEligibleItemError


class Newest:
    """Whatever catalog is looked at now, in the place of a reader."""

    catalog: Catalog

    def pin(self, keys: Collection[ItemKey]) -> Pinned:
        return self.catalog.reader.pin(keys)


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[LocalEngine, Newest]]:
    newest = Newest()
    decoder = Decoder(MODEL, newest, running.LIMITS, max_running=3, cache_bytes=1 << 20)
    # Among so few words, and without an end, items come often.
    words = (word for word in range(MODEL.vocabulary.text_size) if word % 60)
    decoder.banned = np.array(sorted({*decoder.banned, *decoder.end_tokens, *words}))
    made = LocalEngine(decoder)
    yield made, newest
    made.stop()


@given(told=permitted.tellings(), works=st.lists(GENERATE | RANK, min_size=2, max_size=6))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_hold_what_the_constraints_leave_and_end_with_a_reason_that_fits(
    engine: tuple[LocalEngine, Newest], told: Told, works: list[GenerateWork | RankWork]
) -> None:
    running_engine, newest = engine

    def ask(work: GenerateWork | RankWork) -> Said:
        try:
            return running.answer(running_engine, work)
        except NoEligibleItemError as error:
            return error

    with tempfile.TemporaryDirectory() as folder:
        newest.catalog = told.catalog(Path(folder) / "c")
        reference = Reference(told, newest.catalog)
        with ThreadPoolExecutor(len(works)) as threads:  # side by side, more than run at once
            answers = list(threads.map(ask, works))
        newest.catalog.close()
    for work, said in zip(works, answers, strict=True):
        if isinstance(work, RankWork):
            assert_ranked(work, said, reference)
        else:
            assert isinstance(said, list)
            assert_stream(work, said, reference)


def assert_ranked(work: RankWork, said: Said, reference: Reference) -> None:
    may = reference.permitted(work.constraints, work.history)
    if isinstance(said, NoEligibleItemError):
        assert not may
        return
    (ranked,) = said
    assert isinstance(ranked, RankedList)
    found = {(row.item_type, row.codes): row.item_ids for row in ranked.ranked}
    assert len(found) == len(ranked.ranked) == min(work.max_results, len(may)), "as many as there are"
    assert found.items() <= may.items()
    scores = [row.logprob for row in ranked.ranked]
    assert scores == sorted(scores, reverse=True)
    assert ranked.generation == reference.generation
    assert ranked.unknown_history == sum(not reference.knows(key) for key in work.history)


def assert_stream(work: GenerateWork, events: list[EngineEvent], reference: Reference) -> None:
    started, *middle, finished = events
    assert isinstance(started, Started)
    assert started.generation == reference.generation
    assert started.unknown_history == sum(not reference.knows(key) for key in work.history)
    assert isinstance(finished, Finished)
    assert all(isinstance(event, TextChunk | Span) for event in middle)
    spans = [event for event in middle if isinstance(event, Span)]
    assert_text(work, middle)
    named = set[ItemKey]()
    for index, span in enumerate(spans):
        assert (span.index, span.generation) == (index, reference.generation)
        assert_span(work, span, reference, named)
        named |= {ItemKey(span.ranked[0].item_type, item_id) for item_id in span.ranked[0].item_ids}
    assert len(spans) <= work.decoding.max_items
    assert not spans or work.format is not OutputFormat.TEXT_ONLY
    is_exhausted = not reference.permitted(work.constraints, work.history, named)
    assert_end(work, finished, len(spans), is_exhausted=is_exhausted)


def assert_span(work: GenerateWork, span: Span, reference: Reference, named: set[ItemKey]) -> None:
    may = reference.permitted(work.constraints, work.history, named)
    found = {(row.item_type, row.codes): row.item_ids for row in span.ranked}
    assert found.items() <= may.items()
    is_sampled = work.decoding.beam_width == 1 and work.decoding.temperature > 0
    assert len(found) == len(span.ranked) == (1 if is_sampled else min(1 + work.alternatives, len(may)))


def assert_text(work: GenerateWork, middle: list[EngineEvent]) -> None:
    text = "".join(event.text if isinstance(event, TextChunk) else "\n|\n" for event in middle)
    assert not [control for control in CONTROL if control in text]
    assert not [stop for stop in work.decoding.stop_sequences if stop in text]
    assert all(event.text for event in middle if isinstance(event, TextChunk))
    assert work.format is not OutputFormat.ITEMS_ONLY or not any(isinstance(event, TextChunk) for event in middle)


def assert_end(work: GenerateWork, finished: Finished, spans: int, *, is_exhausted: bool) -> None:
    usage, decoding = finished.usage, work.decoding
    in_items = work.format is OutputFormat.ITEMS_ONLY
    used = usage.prompt_tokens + usage.text_tokens + usage.sid_tokens
    assert used <= running.LIMITS.max_context_tokens
    assert usage.text_tokens <= (0 if in_items else decoding.max_output_tokens)
    fits = {
        FinishReason.END_OF_SEQUENCE: spans > 0 or not in_items,
        FinishReason.STOP_SEQUENCE: finished.stop_sequence in decoding.stop_sequences,
        FinishReason.MAX_TOKENS: usage.text_tokens == decoding.max_output_tokens
        or used > running.LIMITS.max_context_tokens - 2 * (max(map(len, TYPES.values())) + 2),
        FinishReason.MAX_ITEMS: in_items and spans == decoding.max_items,
        FinishReason.NO_ELIGIBLE_ITEM: is_exhausted
        and spans < decoding.max_items
        and work.format is not OutputFormat.TEXT_ONLY,
    }
    assert fits[finished.reason], f"{finished} after {spans} spans"
    assert bool(finished.stop_sequence) == (finished.reason is FinishReason.STOP_SEQUENCE)
