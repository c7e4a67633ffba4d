"""Answers of a real worker process to a real client: lists, streams, live catalog, deadlines."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo_runtime.client import (
    AsyncNeoClient,
    CallError,
    Finish,
    ItemSpan,
    Start,
    Text,
    generate_request,
    rank_request,
)
from neo_runtime.serving.server import ADMIN, GENERATION
from neo_runtime.types import ItemKey
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.integration.conftest import Served
from tests.kit import tiny

FILM = ItemKey("film", "f1")


def test_a_ranked_list_holds_distinct_items_of_the_asked_type_best_first(served: Served) -> None:
    answer = served.client.rank(rank_request("film", history=[FILM], limit=30, include_sids=True))
    keys = [row.item.key for row in answer.results]
    assert len(keys) == len(set(keys)) == 19, "all films but the one in the history"
    assert {key.type for key in keys} == {"film"}
    scores = [row.logprob for row in answer.results]
    assert scores == sorted(scores, reverse=True)
    assert all(row.codes and row.item.title == f"Title of {row.item.key.id}" for row in answer.results)
    assert answer.generation == served.catalog.reader.view().generation
    assert answer.usage.prompt_tokens > 0


def test_history_may_come_back_where_the_request_says_so(served: Served) -> None:
    answer = served.client.rank(rank_request("film", history=[FILM], limit=30, exclude_history=False))
    assert FILM in {row.item.key for row in answer.results}


def test_unknown_history_is_counted_not_refused(served: Served) -> None:
    answer = served.client.rank(rank_request("film", history=[FILM, ItemKey("film", "never-seen")]))
    assert answer.unknown_history_items == 1


def test_allow_and_deny_are_exact(served: Served) -> None:
    allow = [ItemKey("film", f"f{number}") for number in range(5)]
    answer = served.client.rank(rank_request("film", allow=allow, deny=[allow[0]], limit=50))
    assert {row.item.key for row in answer.results} == set(allow[1:])


def test_a_published_item_is_served_and_a_deleted_one_is_not_while_a_stream_is_open(served: Served) -> None:
    new = ItemKey("film", "brand-new")
    opened = served.client.generate(generate_request("Talk.", temperature=2.0, seed=1, max_output_tokens=100))
    assert isinstance(next(opened), Start)
    served.catalog.apply([tiny.upsert(str(new), time=50)])
    started = time.monotonic()
    answer = served.client.rank(rank_request("film", limit=100))
    assert new in {row.item.key for row in answer.results}
    assert answer.generation == served.catalog.reader.view().generation
    served.catalog.apply([tiny.delete(str(new), time=51)])
    answer = served.client.rank(rank_request("film", limit=100))
    assert new not in {row.item.key for row in answer.results}
    events = list(opened)
    assert isinstance(events[-1], Finish)
    assert time.monotonic() > started


@given(
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.0, 0.7, 2.0, 8.0]),
    output=st.sampled_from(["mixed", "items", "text"]),
    max_items=st.integers(0, 4),
    max_output_tokens=st.integers(1, 40),
    beam_width=st.sampled_from([1, 5]),
    alternatives=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_stream_keeps_the_grammar(served: Served, **parameters: object) -> None:
    request = generate_request("Say something about items.", **parameters)  # type: ignore[arg-type]
    with grpc.insecure_channel(served.address) as channel:
        messages = list(rpc.GenerationServiceStub(channel).Generate(request, timeout=60))
    assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))
    kinds = [message.WhichOneof("event") for message in messages]
    assert kinds[0] == "start"
    assert kinds[-2:] == ["usage", "finish"]
    assert set(kinds[1:-2]) <= {"text_delta", "item_span"}
    text = "".join(message.text_delta.text for message in messages)
    assert "[SID]" not in text
    assert "<film:" not in text
    spans = [message.item_span for message in messages if message.HasField("item_span")]
    assert [span.index for span in spans] == list(range(len(spans)))
    assert len(spans) <= max(1, int(str(parameters["max_items"])))
    assert not spans or parameters["output"] != "text"
    assert not text or parameters["output"] != "items"
    for span in spans:
        assert len(span.alternatives) <= int(str(parameters["alternatives"]))
    usage = messages[-2].usage
    assert usage.text_tokens <= int(str(parameters["max_output_tokens"]))
    assert messages[-1].finish.reason != pb.Finish.REASON_UNSPECIFIED


def test_the_same_seed_gives_the_same_stream(served: Served) -> None:
    request = generate_request("Talk.", temperature=1.0, seed=7, max_output_tokens=30)
    first, second = (
        [e for e in served.client.generate(request) if not isinstance(e, Start | Finish)] for _ in range(2)
    )
    assert "".join(e.text for e in first if isinstance(e, Text)) == "".join(
        e.text for e in second if isinstance(e, Text)
    )
    assert [e.item for e in first if isinstance(e, ItemSpan)] == [e.item for e in second if isinstance(e, ItemSpan)]


def test_no_eligible_item_is_an_answer_not_a_hang(served: Served) -> None:
    nothing = [ItemKey("film", "never-seen")]
    with pytest.raises(CallError) as caught:
        served.client.rank(rank_request("film", allow=nothing))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_ITEM")
    events = list(served.client.generate(generate_request("Talk.", allow=nothing, output="items")))
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.reason == "no_eligible_item"


async def test_the_async_client_gives_the_same_answers(served: Served) -> None:
    request = rank_request("film", history=[FILM])
    async with AsyncNeoClient(served.address) as client:
        answers = await asyncio.gather(*(client.rank(request) for _ in range(4)))
        events = [event async for event in client.generate(generate_request("Talk.", max_output_tokens=8))]
        assert (await client.serving_info()).models == ["tiny"]
    expected = served.client.rank(request).results
    for answer in answers:
        assert [row.item.key for row in answer.results] == [row.item.key for row in expected]
    assert isinstance(events[-1], Finish)


def test_a_deadline_ends_a_long_stream_and_the_worker_forgets_it(served: Served) -> None:
    long = generate_request("Talk.", temperature=3.0, seed=3, max_output_tokens=200, stop_sequences=["\0never"])
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(rpc.GenerationServiceStub(channel).Generate(long, timeout=0.02))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    _wait_idle(served)


def test_leaving_a_stream_cancels_it(served: Served) -> None:
    streams = [
        served.client.generate(generate_request("Talk.", temperature=3.0, seed=seed, max_output_tokens=200))
        for seed in range(4)
    ]
    for stream in streams:
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    _wait_idle(served)


def _wait_idle(served: Served) -> None:
    deadline = time.monotonic() + 20
    while served.client.serving_info().running_requests:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_health_and_reflection_answer(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", GENERATION, ADMIN):
            status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (response,) = reflection.ServerReflectionInfo(iter([request]))
    assert {GENERATION, ADMIN} <= {service.name for service in response.list_services_response.service}


def test_catalog_status_and_item_look_up(served: Served) -> None:
    catalog = served.client.catalog()
    assert {stats.item_type: stats.items for stats in catalog.type_stats} == dict.fromkeys(tiny.TYPES, 20)
    item = served.client.item(FILM)
    assert item.title == "Title of f1"
    assert len(item.sid.codes) == 3
    with pytest.raises(CallError) as caught:
        served.client.item(ItemKey("film", "never-seen"))
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
