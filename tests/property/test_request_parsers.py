"""No request, however absurd, is more than refused: each becomes work within the limits, or an error of ours."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.client import generate_request, rank_request
from neo_runtime.client.requests import warm
from neo_runtime.engine.api import MAX_BONUS, Constraints, EngineLimits, RankWork, WarmWork, Work
from neo_runtime.errors import InvalidRequestError, NeoError, NotFoundError
from neo_runtime.prompt.message import Conversation, TaskPrompt
from neo_runtime.serving.requests import RequestReader
from neo_runtime.serving.status import to_status
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.predicate import Condition, Equals, Exists, OneOf, Predicate, Range, check
from neo_runtime.types import ItemKey
from neo_runtime.v1 import constraint_pb2
from neo_runtime.v1 import generation_service_pb2 as pb
from tests.kit.filters import PREDICATES
from tests.kit.mutations import damaged, messages

LIMITS = EngineLimits(max_context_tokens=256, max_beam_width=64, max_output_tokens=128, max_items=16)
TYPES = ("film", "book")
MODEL = "tiny"
GRPC_SOFT_LIMIT = 8_192

NAMED = {name: Predicate(must=(Condition("for", Equals(name)),)) for name in ("kids", "new")}
WHERE = Predicate(
    must=(Condition("year", Range(1990, 2000.5)), Condition("genres", OneOf(("war", "crime")))),
    must_not=(Predicate(should=(Condition("seen", Equals(True)), Condition("old", Exists(True)))),),
)

GENERATE = generate_request(
    ["like ", ItemKey("film", "f1")], item_types=["film"], allow=[ItemKey("film", "f2")],
    history=[ItemKey("book", "b")], temperature=0.5, seed=3, stop_sequences=["x"], beam_width=4, alternatives=2,
    where=WHERE, named_filters=["kids"], region="at", new_item_bonus=1.0,
).SerializeToString()  # fmt: skip
RANK = rank_request("film", history=[ItemKey("film", "f1")], deny=[ItemKey("film", "f2")]).SerializeToString()
WARM = warm(rank_request("film", history=[ItemKey("film", "f1")])).SerializeToString()
Request = pb.GenerateRequest | pb.RankItemsRequest | pb.WarmRequest


def read(request: Request) -> Work | NeoError:
    reader = RequestReader(MODEL, TYPES, LIMITS, NAMED)
    try:
        match request:
            case pb.GenerateRequest():
                return reader.generate(request)
            case pb.RankItemsRequest():
                return reader.rank(request)
            case pb.WarmRequest():
                return reader.warm(request)
    except NeoError as error:
        return error


def assert_sound(found: Work | NeoError) -> None:
    """What an engine may rely on, or a refusal that says what is wrong."""
    if isinstance(found, NeoError):
        assert isinstance(found, InvalidRequestError | NotFoundError)
        assert not isinstance(found, InvalidRequestError) or all(v.description for v in found.violations)
        assert to_status(found).details
        return
    assert isinstance(found.prompt, Conversation | TaskPrompt)
    assert all(key.type in TYPES and key.id for key in found.history)
    if isinstance(found, WarmWork):
        return
    assert_sound_constraints(found.constraints)
    if isinstance(found, RankWork):
        assert 1 <= found.max_results <= LIMITS.max_beam_width
        return
    decoding = found.decoding
    assert 1 <= decoding.beam_width <= LIMITS.max_beam_width
    assert 1 <= decoding.max_output_tokens <= LIMITS.max_output_tokens
    assert 0 <= decoding.max_items <= LIMITS.max_items
    assert 0 <= decoding.temperature <= 10
    assert 0 < decoding.top_p <= 1
    assert all(decoding.stop_sequences)
    assert 0 <= found.alternatives < LIMITS.max_beam_width
    assert abs(found.new_item_bonus) <= MAX_BONUS


def assert_sound_constraints(constraints: Constraints) -> None:
    assert set(constraints.item_types) <= set(TYPES)
    assert constraints.allow is None or constraints.allow
    for key in {*(constraints.allow or ()), *constraints.deny}:
        assert key.type in TYPES
        assert 1 <= len(key.id.encode()) <= 256
    assert constraints.region != ""
    for predicate in constraints.predicates:
        assert predicate != Predicate()
        check(predicate)
        Columns.of([{"year": 1990, "genres": ["war"]}]).select(predicate)


@given(messages(pb.GenerateRequest))
@settings(max_examples=200, deadline=None)
def test_any_generate_request_becomes_sound_work_or_is_refused(request: pb.GenerateRequest) -> None:
    assert_sound(read(request))


@given(messages(pb.RankItemsRequest))
@settings(max_examples=100, deadline=None)
def test_any_rank_request_becomes_sound_work_or_is_refused(request: pb.RankItemsRequest) -> None:
    assert_sound(read(request))


@given(messages(pb.WarmRequest))
@settings(max_examples=100, deadline=None)
def test_any_warm_request_becomes_sound_work_or_is_refused(request: pb.WarmRequest) -> None:
    assert_sound(read(request))


# A right prompt, so that what comes after it is reached.
@given(messages(pb.DecodingParams), messages(pb.ResponseOptions))
@settings(max_examples=200, deadline=None)
def test_any_decoding_becomes_sound_work_or_is_refused(
    decoding: pb.DecodingParams, options: pb.ResponseOptions
) -> None:
    request = generate_request("hi")
    request.decoding.CopyFrom(decoding)
    request.options.CopyFrom(options)
    assert_sound(read(request))


@given(messages(constraint_pb2.ConstraintSpec))
@settings(max_examples=300, deadline=None)
def test_any_constraints_become_sound_work_or_are_refused(constraints: constraint_pb2.ConstraintSpec) -> None:
    request = generate_request("hi")
    request.constraints.CopyFrom(constraints)
    assert_sound(read(request))


@given(messages(constraint_pb2.Filter))
@settings(max_examples=300, deadline=None)
def test_any_filter_becomes_sound_work_or_is_refused(filter_tree: constraint_pb2.Filter) -> None:
    request = rank_request("film")
    request.constraints.filter.CopyFrom(filter_tree)
    found = read(request)
    assert_sound(found)
    assert not isinstance(found, NeoError) or found.reason == "BAD_FILTER"


@given(PREDICATES)
@settings(max_examples=300, deadline=None)
def test_a_filter_reaches_the_engine_as_the_client_gave_it(predicate: Predicate) -> None:
    found = read(rank_request("film", where=predicate))
    assert isinstance(found, RankWork)
    assert found.constraints.predicates == (() if predicate == Predicate() else (predicate,))


@pytest.mark.parametrize(
    ("kind", "whole"),
    [(pb.GenerateRequest, GENERATE), (pb.RankItemsRequest, RANK), (pb.WarmRequest, WARM)],
    ids=["generate", "rank", "warm"],
)
def test_a_damaged_request_is_no_message_or_sound_or_refused(kind: type[Request], whole: bytes) -> None:
    assert not isinstance(read(kind.FromString(whole)), NeoError), "whole, it is right"

    @given(damaged(whole))
    @settings(max_examples=200, deadline=None)
    def fuzzed(payload: bytes) -> None:
        try:
            request = kind.FromString(payload)
        except DecodeError:
            return
        assert_sound(read(request))

    fuzzed()


def metadata_bytes(error: NeoError) -> int:
    """What gRPC counts of a status: 32 bytes for each entry, its name, its value in percent signs or base64."""
    status = to_status(error)
    message = sum(1 if 0x20 <= byte <= 0x7E else 3 for byte in status.details.encode())
    details = sum(len(name) + 4 * -(-len(value) // 3) + 32 for name, value in status.trailing_metadata)
    return message + details + 300


LONG_REQUESTS = {
    "a model": pb.RankItemsRequest(model="m" * 10_000),
    "types of letters": rank_request("film", item_types=["x" * 1_000] * 100),
    "types of symbols": rank_request("film", item_types=["\U0001f600" * 1_000] * 100),
    "names of filters": rank_request("film", named_filters=["\U0001f600" * 1_000] * 50),
    "items of symbols": rank_request("film", deny=[ItemKey("\U0001f600" * 1_000, str(n)) for n in range(100)]),
}


@pytest.mark.parametrize("name", LONG_REQUESTS)
def test_a_refusal_of_long_names_still_fits_what_grpc_carries(name: str) -> None:
    error = read(LONG_REQUESTS[name])
    assert isinstance(error, NeoError)
    assert metadata_bytes(error) < GRPC_SOFT_LIMIT


@pytest.mark.parametrize("count", [1, 20, 5_000])
def test_a_refusal_of_many_fields_fits_what_grpc_carries(count: int) -> None:
    error = read(rank_request("film", deny=[ItemKey("song", str(number)) for number in range(count)]))
    assert isinstance(error, InvalidRequestError)
    assert metadata_bytes(error) < GRPC_SOFT_LIMIT


@given(st.binary(max_size=120))
@settings(max_examples=200, deadline=None)
def test_noise_is_no_message_or_refused_or_sound(payload: bytes) -> None:
    for kind in (pb.GenerateRequest, pb.RankItemsRequest, pb.WarmRequest):
        try:
            request = kind.FromString(payload)
        except DecodeError:
            continue
        assert_sound(read(request))
