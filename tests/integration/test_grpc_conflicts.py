"""Constraints that contradict each other or leave nothing: a documented end, at once, and the next answer as ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message

from neo_runtime.catalog.item import Availability
from neo_runtime.client import (
    CallError,
    Finish,
    ItemSpan,
    Start,
    Text,
    generate_request,
    rank_request,
)
from neo_runtime.trie.windows import Window
from neo_runtime.types import ItemKey
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.integration.conftest import Served
from tests.kit import tiny
from tests.kit.workers import until

HOUR_US = 3_600_000_000
FILMS = [ItemKey("film", f"f{number}") for number in range(20)]
EVERYTHING = [ItemKey.parse(item) for item in tiny.items(20)]
GONE, ABROAD, LATER = FILMS[0], FILMS[1], FILMS[2]
"""Films whose time is over, that are licensed for Norway alone, and that have yet to come."""
CHANGING = {"response_id", "sequence", "queue_time", "prefill_time", "decode_time"}
NOWHERE = {"must": [{"attribute": "no item has it", "exists": True}]}
NEITHER_NOR = {"must": [{"attribute": "a", "exists": True}, {"attribute": "a", "exists": False}]}
BACKWARDS = {"must": [{"attribute": "a", "range": {"greaterOrEqual": 9, "less": 1}}]}


class Reference(NamedTuple):
    """What is asked before and after, and what the worker said to it."""

    requests: tuple[pb.GenerateRequest, pb.RankItemsRequest]
    said: list[bytes]


def answers(served: Served, requests: tuple[pb.GenerateRequest, pb.RankItemsRequest]) -> list[bytes]:
    """Whole messages; text is cut anyhow, so it is joined."""
    with grpc.insecure_channel(served.address) as channel:
        stub = rpc.GenerationServiceStub(channel)
        stream = list(stub.Generate(requests[0], timeout=60))
        ranked = stub.RankItems(requests[1], timeout=60)
    text = "".join(message.text_delta.text for message in stream).encode()
    return [text, *(bare(message) for message in stream if not message.HasField("text_delta")), bare(ranked)]


def bare(message: Message) -> bytes:
    """Without the names, numbers and times that are others each time."""
    inner = [value for field, value in message.ListFields() if field.message_type and not field.is_repeated]
    for part in (message, *inner):
        for name in CHANGING & set(part.DESCRIPTOR.fields_by_name):
            part.ClearField(name)
    return message.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def reference(served: Served) -> Reference:
    now_us = time.time_ns() // 1_000
    windows = {
        GONE: Window(None, now_us - HOUR_US), ABROAD: Window(regions=("NO",)), LATER: Window(now_us + HOUR_US, None),
    }  # fmt: skip
    served.catalog.apply([Availability(key, 1, (window,), False, tiny.raw()) for key, window in windows.items()])
    stream = generate_request("Talk.", temperature=1.0, seed=4, max_output_tokens=40, alternatives=3, include_sids=True)
    requests = (stream, rank_request("film", history=FILMS[5:8], limit=20, include_sids=True))
    answers(served, requests)  # from now on the worker remembers both prompts
    return Reference(requests, answers(served, requests))


@pytest.fixture(autouse=True)
def the_next_answer_is_as_ever(served: Served, reference: Reference) -> Iterator[None]:
    """Byte for byte, and nothing is left running."""
    yield
    assert answers(served, reference.requests) == reference.said
    until(lambda: load(served) == (0, 0), "an idle worker", lambda: str(load(served)))


def load(served: Served) -> tuple[int, int]:
    info = served.client.serving_info()
    return info.running_requests, info.queued_requests


NOTHING_LEFT: dict[str, dict[str, Any]] = {
    "allowed and denied": {"allow": FILMS[3:5], "deny": FILMS[3:5]},
    "everything denied": {"deny": EVERYTHING},
    "of a type, everything denied": {"item_types": ["book"], "deny": [key for key in EVERYTHING if key.type == "book"]},
    "allowed, and seen before": {"allow": FILMS[3:6], "history": FILMS},
    "allowed, but unknown": {"allow": [ItemKey("film", "never seen")]},
    "everything seen before": {"history": EVERYTHING},
    "what no item has": {"where": NOWHERE},
    "two conditions that exclude each other": {"where": NEITHER_NOR},
    "a range that ends before it begins": {"where": BACKWARDS},
    "time is over": {"allow": [GONE]},
    "time has not come": {"allow": [LATER], "region": "NO"},
    "licensed elsewhere": {"allow": [ABROAD], "region": "SE"},
    "licensed somewhere, asked from nowhere": {"allow": [ABROAD]},
}


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_constraints_that_leave_nothing_end_with_their_reason(served: Served, name: str) -> None:
    wanted = NOTHING_LEFT[name]
    with pytest.raises(CallError) as caught:
        served.client.rank(rank_request(prompt="hi", **wanted))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_ITEM")
    start, finish = served.client.generate(generate_request("Talk.", output="items", **wanted))
    assert isinstance(start, Start)
    assert isinstance(finish, Finish)
    assert finish.reason == "no_eligible_item"
    mixed = list(served.client.generate(generate_request("Talk.", temperature=3.0, seed=2, **wanted)))
    assert not any(isinstance(event, ItemSpan) for event in mixed)
    assert isinstance(mixed[-1], Finish)


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_an_answer_in_words_needs_no_item(served: Served, name: str) -> None:
    wanted = {"output": "text", "max_output_tokens": 12, "temperature": 2.0, "seed": 5}
    words = {"history": NOTHING_LEFT[name].get("history", ())}
    bound = list(served.client.generate(generate_request("Talk.", **wanted, **NOTHING_LEFT[name])))
    free = list(served.client.generate(generate_request("Talk.", **wanted, **words)))
    said, said_freely = ("".join(e.text for e in events if isinstance(e, Text)) for events in (bound, free))
    assert said == said_freely
    assert said
    assert not any(isinstance(event, ItemSpan) for event in bound)


STILL_LEFT: dict[str, tuple[dict[str, Any], set[ItemKey]]] = {
    "history allowed again": (
        {"allow": FILMS[3:5], "history": FILMS, "exclude_history": False}, {*FILMS[3:5]}
    ),
    "denied wins": ({"allow": FILMS[3:6], "deny": [FILMS[4]]}, {FILMS[3], FILMS[5]}),
    "licensed here": ({"allow": [ABROAD, GONE, LATER], "region": "NO"}, {ABROAD}),
    "allowed over the whole type": ({"item_types": ["film", "book"], "allow": [EVERYTHING[25]]}, {EVERYTHING[25]}),
}  # fmt: skip


@pytest.mark.parametrize("name", STILL_LEFT)
def test_constraints_that_leave_something_give_exactly_it(served: Served, name: str) -> None:
    wanted, expected = STILL_LEFT[name]
    ranked = served.client.rank(rank_request(prompt="hi", limit=50, **wanted))
    assert {row.item.key for row in ranked.results} == expected
    request = generate_request("Talk.", output="items", max_items=16, **wanted)
    spans = [event.item.key for event in served.client.generate(request) if isinstance(event, ItemSpan)]
    assert spans
    assert set(spans) <= expected
    assert len(set(spans)) == len(spans)


REFUSED: dict[str, tuple[pb.GenerateRequest | pb.RankItemsRequest, str]] = {
    "allowed of a type that is not wanted": (
        generate_request("hi", item_types=["book"], allow=[FILMS[3]]), "constraints.allow_items[0]"
    ),
    "allowed of a type that the task does not ask for": (
        rank_request("book", allow=[FILMS[3]]), "constraints.allow_items[0]"
    ),
    "a task for a type that is not wanted": (rank_request("film", item_types=["book"]), "constraints.item_types"),
    "an explanation for a type that is not wanted": (
        generate_request(task="explain", item_type="film", item_types=["artist", "book"]), "constraints.item_types"
    ),
    "a list in words": (
        pb.RankItemsRequest(
            conversation=generate_request("hi").conversation,
            options=pb.ResponseOptions(format=pb.ResponseOptions.FORMAT_TEXT_ONLY),
        ), "options.format",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_constraints_that_contradict_the_request_are_refused_by_name(served: Served, name: str) -> None:
    request, field = REFUSED[name]
    is_list = isinstance(request, pb.RankItemsRequest)
    with pytest.raises(CallError) as caught:
        served.client.rank(request) if is_list else list(served.client.generate(request))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(caught.value.fields) == [field]


def test_no_items_wanted_of_an_answer_in_items_is_an_empty_answer(served: Served) -> None:
    start, finish = served.client.generate(generate_request("Talk.", output="items", max_items=0))
    assert isinstance(start, Start)
    assert isinstance(finish, Finish)
    assert finish.reason == "max_items"


PROMPTS: dict[str, tuple[dict[str, Any], grpc.StatusCode, str, str]] = {
    "over the context": (
        {"prompt": "word " * 300}, grpc.StatusCode.OUT_OF_RANGE, "PROMPT_TOO_LONG", "shorten",
    ),
    "a history over the context": (
        {"task": "recommend", "item_type": "film", "history": FILMS * 20},
        grpc.StatusCode.OUT_OF_RANGE, "PROMPT_TOO_LONG", "shorten",
    ),
    "over the budget of characters": (
        {"prompt": "x" * 200_001}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "over the limit of 200000",
    ),
    "over the budget of parts": (
        {"prompt": ["x"] * 10_001}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "over the limit of 10000",
    ),
    "a history over its budget": (
        {"prompt": "hi", "history": FILMS * 51}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "limit of 1000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_that_is_too_long_is_refused_with_what_to_do(served: Served, name: str) -> None:
    wanted, code, reason, words = PROMPTS[name]
    request = generate_request(**wanted)
    ranked = pb.RankItemsRequest(user=request.user)
    if request.HasField("task"):
        ranked.task.CopyFrom(request.task)
    else:
        ranked.conversation.CopyFrom(request.conversation)
    calls = (
        lambda: list(served.client.generate(request)), lambda: served.client.rank(ranked),
        lambda: served.client.warm(ranked),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(CallError, match=words) as caught:
            call()
        assert (caught.value.code, caught.value.reason) == (code, reason)
