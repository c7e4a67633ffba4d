"""Every field of every request: past its range it is refused by name, at the ends of its range it is answered."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import Message

from neo_runtime.client.errors import to_call_error
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.integration.conftest import Served
from tests.kit import ranges

UNKNOWN_MODEL = (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
REASONS = ("INVALID_REQUEST", "BAD_FILTER")


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[rpc.GenerationServiceStub]:
    with grpc.insecure_channel(served.address) as channel:
        yield rpc.GenerationServiceStub(channel)


def answer(stub: rpc.GenerationServiceStub, method: str, request: Message) -> list[Message]:
    call = getattr(stub, method)
    return list(call(request, timeout=60)) if method == "Generate" else [call(request, timeout=60)]


@pytest.mark.parametrize("method", ranges.METHODS)
def test_every_field_of_a_request_is_in_the_tables(method: str) -> None:
    tried = {wrong.path for wrong in ranges.WRONG} | set(ranges.WITHOUT_RANGE)
    missing = set(ranges.paths(ranges.METHODS[method].DESCRIPTOR)) - tried
    assert {path for path in missing if not path.endswith(ranges.VALUES)} == set()


@pytest.mark.parametrize("method", ranges.METHODS)
def test_past_its_range_every_field_is_refused_by_name(stub: rpc.GenerationServiceStub, method: str) -> None:
    tried, faults = 0, []
    for wrong in ranges.WRONG:
        if not ranges.fits(method, wrong.value):
            continue
        tried += 1
        try:
            answer(stub, method, ranges.changed(method, wrong.value))
            faults.append(f"{wrong.path} {str(wrong.value)[:120]}: answered")
        except grpc.RpcError as failed:
            error = to_call_error(failed)
            is_right = error.code is grpc.StatusCode.INVALID_ARGUMENT and error.reason in REASONS
            is_right |= wrong.path == "model" and (error.code, error.reason) == UNKNOWN_MODEL
            if not is_right or wrong.named not in error.fields:
                faults.append(f"{wrong.path} {str(wrong.value)[:120]}: {error.code} {error.reason} {error.fields}")
    assert not faults, "\n".join(faults)
    assert tried > 50


@pytest.mark.parametrize("method", ranges.METHODS)
def test_at_the_ends_of_its_range_every_field_is_answered(stub: rpc.GenerationServiceStub, method: str) -> None:
    faults = []
    for name, value in ranges.ENDS.items():
        if ranges.fits(method, value):
            try:
                assert answer(stub, method, ranges.changed(method, value))
            except grpc.RpcError as error:
                faults.append(f"{name}: {error.code()} {error.details()}")
    assert not faults, "\n".join(faults)
