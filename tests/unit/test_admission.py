"""What is let in, by tokens and by the engine's pace; what is refused is told when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.engine.admission import Admission, cost
from neo_runtime.engine.api import Decoding, GenerateWork, RankWork, WarmWork, Work
from neo_runtime.engine.pace import Pace
from neo_runtime.errors import OverloadedError
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.types import ItemKey

PROMPT = Conversation((Turn("user", ("Recommend a film.",)),))


def stream(tokens: int) -> GenerateWork:
    return GenerateWork(PROMPT, decoding=Decoding(max_output_tokens=tokens))


def admission(max_requests: int = 100, max_running: int = 4, max_backlog_s: float = 10.0) -> Admission:
    return Admission(max_requests=max_requests, max_running=max_running, max_backlog_s=max_backlog_s)


def test_longer_prompts_histories_lists_and_answers_cost_more() -> None:
    long = Conversation((Turn("user", ("Recommend a film. " * 50,)),))
    history = (ItemKey("film", "f1"),) * 20
    pairs: list[tuple[Work, Work]] = [
        (RankWork(PROMPT), RankWork(long)),
        (RankWork(PROMPT), RankWork(PROMPT, history)),
        (RankWork(PROMPT, max_results=10), RankWork(PROMPT, max_results=30)),
        (stream(10), stream(11)),
        (WarmWork(PROMPT), WarmWork(PROMPT, history)),
    ]
    assert all(cost(less) < cost(more) for less, more in pairs)


def test_before_anything_is_measured_only_the_number_of_requests_counts() -> None:
    admitting = admission(max_requests=3)
    for number in range(3):
        admitting.admit(number, stream(1_000_000))
    with pytest.raises(OverloadedError) as caught:
        admitting.admit(3, stream(1))
    assert caught.value.reason == "QUEUE_FULL"
    admitting.release(1)
    admitting.admit(3, stream(1))


def test_work_beyond_the_backlog_is_refused_until_some_is_done() -> None:
    admitting = admission(max_backlog_s=10.0)
    admitting.pace = Pace(0.0, 0.01)  # a hundred rows a second
    admitting.admit(0, stream(2_000))
    with pytest.raises(OverloadedError) as caught:
        admitting.admit(1, stream(1))
    assert caught.value.reason == "BACKLOG_FULL"
    assert caught.value.retry_after_s == pytest.approx(10, rel=0.1)
    assert "try again in about 10 s" in str(caught.value)
    admitting.release(0)
    admitting.admit(1, stream(1))


def test_one_request_of_any_size_is_let_in_where_nothing_else_is() -> None:
    admitting = admission(max_backlog_s=0.001)
    admitting.pace = Pace(1.0, 1.0)
    admitting.admit(0, stream(100_000))


def test_requests_that_share_passes_take_less_than_one_after_the_other() -> None:
    alone, shared = admission(max_running=1), admission(max_running=4)
    for admitting in (alone, shared):
        admitting.pace = Pace(0.001, 0.0)
        for number in range(4):
            admitting.admit(number, stream(100))
    assert alone.backlog_s == pytest.approx(4 * shared.backlog_s)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(1, 500)), max_size=60))
def test_what_is_released_leaves_nothing_behind(steps: list[tuple[bool, int, int]]) -> None:
    admitting, held = admission(max_requests=1_000, max_backlog_s=1e9), set[int]()
    admitting.pace = Pace(0.001, 0.001)
    for is_new, number, tokens in steps:
        if is_new and number not in held:
            admitting.admit(number, stream(tokens))
            held.add(number)
        else:
            admitting.release(number)
            held.discard(number)
    assert (admitting.backlog_s > 0) == bool(held)
    for number in held:
        admitting.release(number)
    assert admitting.backlog_s == 0


def test_an_engine_that_is_gone_owes_nothing() -> None:
    admitting = admission(max_backlog_s=1.0)
    admitting.pace = Pace(0.0, 1.0)
    admitting.admit(0, stream(1_000))
    admitting.clear()
    assert admitting.backlog_s == 0
    admitting.admit(1, stream(1))
