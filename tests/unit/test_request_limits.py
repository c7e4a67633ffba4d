"""Every part of a request has its limit, and violations point into the request as it was sent."""

from __future__ import annotations

import pytest

from neo_runtime.client import generate_request, rank_request
from neo_runtime.engine.api import EngineLimits
from neo_runtime.errors import InvalidRequestError
from neo_runtime.serving.requests import RequestReader
from neo_runtime.types import ItemKey
from neo_runtime.v1 import generation_service_pb2 as pb

LIMITS = EngineLimits(max_context_tokens=256, max_beam_width=64, max_output_tokens=128, max_items=16)
FILM = ItemKey("film", "f")


def talk(messages: int, text: str) -> pb.GenerateRequest:
    turn = pb.Message(role=pb.Message.ROLE_USER, contents=[pb.Content(text=text)])
    return pb.GenerateRequest(conversation=pb.Conversation(messages=[turn] * messages))


TOO_MUCH = {
    "text in many messages": (talk(50, "a" * 10_000), "conversation.messages"),
    "many messages": (talk(20_000, ""), "conversation.messages"),
    "items in a message": (generate_request(["like ", *[FILM] * 20_000]), "conversation.messages"),
    "items in a task": (generate_request([FILM] * 20_000, task="understand"), "task.subject"),
    "attributes": (generate_request("hi", attributes=map(str, range(100))), "options.attributes"),
    "item types": (generate_request("hi", item_types=["film"] * 2_000), "constraints.item_types"),
    "a stop sequence": (generate_request("hi", stop_sequences=["x" * 5_000]), "decoding.stop_sequences"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_of_anything_is_refused_before_the_engine_sees_it(name: str) -> None:
    request, field = TOO_MUCH[name]
    request.decoding.temperature = 99
    with pytest.raises(InvalidRequestError) as caught:
        RequestReader("tiny", ("film", "book"), LIMITS, {}).generate(request)
    assert {v.field for v in caught.value.violations} >= {field, "decoding.temperature"}


def test_a_violation_names_the_place_in_the_list_as_it_was_sent() -> None:
    request = rank_request(prompt="hi", item_types=["book"], allow=[FILM, ItemKey("book", "b")])
    with pytest.raises(InvalidRequestError) as caught:
        RequestReader("tiny", ("film", "book"), LIMITS, {}).rank(request)
    assert [v.field for v in caught.value.violations] == ["constraints.allow_items[0]"]
