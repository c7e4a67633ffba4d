"""Bytes, frames and calls that no client would send: refused or dropped, and the streams beside them notice nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.client import generate_request, rank_request
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.integration.conftest import Served
from tests.kit import frames
from tests.kit.mutations import damaged
from tests.kit.workers import until

SERVICE = "/neo_runtime.v1.GenerationService"
STREAM = generate_request("Talk.", temperature=1.5, seed=11, max_output_tokens=150, beam_width=4)
WHOLE = generate_request("Talk.", max_output_tokens=4).SerializeToString()
RANK = rank_request("film").SerializeToString()
UNKNOWN_STATUS = b"grpc-status\x012"
MAX_BYTES = 16 << 20  # of one message


def content(messages: list[pb.GenerateResponse]) -> list[object]:
    """Text, items and the end; not scores, whose last bits are a matter of what shares a pass."""
    text = "".join(message.text_delta.text for message in messages)
    items = [str(message.item_span.item.items) for message in messages if message.HasField("item_span")]
    return [text, items, messages[-1].finish.reason]


class Beside(threading.Thread):
    """Asks for the same stream again and again, and keeps what it got."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address, self.ended, self.answers = address, threading.Event(), list[list[object]]()
        self.problems: list[str] = []

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub = rpc.GenerationServiceStub(channel)
            while not (self.ended.is_set() and self.answers):
                try:
                    self.answers.append(content(list(stub.Generate(STREAM, timeout=60))))
                except grpc.RpcError as error:
                    self.problems.append(f"{error.code()} {error.details()}")
                    return


@contextmanager
def beside_a_stream(served: Served) -> Iterator[None]:
    """The stream's answers are all the same, the worker is healthy in the end, and nothing runs on."""
    with grpc.insecure_channel(served.address) as channel:
        expected = content(list(rpc.GenerationServiceStub(channel).Generate(STREAM, timeout=60)))
    beside = Beside(served.address)
    beside.start()
    try:
        yield
    finally:
        beside.ended.set()
        beside.join(60)
    assert beside.problems == []
    assert all(answer == expected for answer in beside.answers)
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    until(lambda: load(served) == (0, 0), "an idle worker", lambda: str(load(served)))


def load(served: Served) -> tuple[int, int]:
    info = served.client.serving_info()
    return info.running_requests, info.queued_requests


BARE = {
    "random bytes": random.Random(1).randbytes(5_000),
    "HTTP/1.1": b"POST / HTTP/1.1\r\nHost: worker\r\nContent-Length: 5\r\n\r\nhello",
    "TLS": bytes.fromhex("16030100c8010000c403036b"),
    "half a preface": frames.PREFACE[:11],
    "a wrong preface": frames.PREFACE.replace(b"SM", b"MS") + frames.call(frames.message(WHOLE)),
    "a preface alone": frames.PREFACE,
    "no settings": frames.PREFACE + frames.call(frames.message(WHOLE)),
    "a frame longer than it may be": frames.opening() + (1 << 22).to_bytes(3) + bytes(20),
    "headers that are none": frames.opening()
    + frames.frame(frames.HEADERS, b"\xff" * 60, flags=frames.END_HEADERS, stream=1),
    "headers without an end": frames.opening() + frames.frame(frames.HEADERS, frames.headers(), stream=1),
    "an even stream": frames.opening() + frames.call(frames.message(WHOLE), stream=2),
    "data of no stream": frames.opening() + frames.frame(frames.DATA, frames.message(WHOLE), stream=7),
}


def send_all(served: Served, cases: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the worker says to each, all of them at once."""
    with ThreadPoolExecutor(len(cases)) as threads:
        said = threads.map(partial(frames.send, served.address), cases.values())
        return dict(zip(cases, said, strict=True))


def test_what_is_not_http_2_harms_nobody(served: Served) -> None:
    with beside_a_stream(served):
        said = send_all(served, BARE)
    assert not any(UNKNOWN_STATUS in words for words in said.values()), said


CALLS = {
    "no length in front": frames.call(WHOLE),
    "a length over all limits": frames.call(frames.message(WHOLE, size=2**32 - 1)),
    "a length that is never met": frames.call(frames.message(WHOLE, size=len(WHOLE) + 7)),
    "compressed, without saying how": frames.call(frames.message(WHOLE, compressed=True)),
    "compressed, but it is not": frames.call(frames.message(WHOLE, compressed=True), grpc_encoding="gzip"),
    "an unknown compression": frames.call(frames.message(WHOLE, compressed=True), grpc_encoding="zip"),
    "an unknown path": frames.call(frames.message(WHOLE), path="/"),
    "another content type": frames.call(frames.message(WHOLE), content_type="text/html"),
    "a deadline of words": frames.call(frames.message(WHOLE), grpc_timeout="soon"),
    "two messages": frames.call(frames.message(WHOLE) * 2),
    "no message": frames.call(b""),
    "the same stream twice": frames.call(frames.message(WHOLE)) * 2,
    "an empty header block": frames.frame(frames.HEADERS, flags=frames.END_HEADERS | frames.END_STREAM, stream=1),
}


def test_a_call_that_is_put_together_wrongly_harms_nobody(served: Served) -> None:
    with beside_a_stream(served):
        said = send_all(served, {name: frames.opening() + call for name, call in CALLS.items()})
    assert not any(UNKNOWN_STATUS in words for words in said.values()), said


def test_random_frames_harm_nobody(served: Served) -> None:
    rng = random.Random(5)
    with beside_a_stream(served):
        for number in range(120):
            head = frames.opening() + (frames.call(frames.message(WHOLE)) if number % 2 else b"")
            with suppress(ConnectionError), frames.connect(served.address) as raw:
                raw.sendall(head + frames.noise(rng, 1 + number % 12))


@given(st.sampled_from(["Generate", "RankItems", "Warm"]), damaged(WHOLE) | damaged(RANK) | st.binary(max_size=80))
@settings(max_examples=150, deadline=None)
def garbage(served: Served, method: str, payload: bytes) -> None:
    with grpc.insecure_channel(served.address) as channel:
        try:
            list(channel.unary_stream(f"{SERVICE}/{method}")(payload, timeout=20))
        except grpc.RpcError as error:
            assert error.code() in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.OUT_OF_RANGE,
                grpc.StatusCode.FAILED_PRECONDITION,
            }, error.details()


def test_messages_of_garbage_are_refused_by_name_beside_a_stream(served: Served) -> None:
    with beside_a_stream(served):
        garbage(served)


def test_what_does_not_exist_and_what_is_too_large_has_its_status(served: Served) -> None:
    refused = {
        ("Nothing", b""): grpc.StatusCode.UNIMPLEMENTED,
        ("generate", WHOLE): grpc.StatusCode.UNIMPLEMENTED,
        ("RankItems", bytes(MAX_BYTES + 1)): grpc.StatusCode.RESOURCE_EXHAUSTED,
        ("Generate", bytes(MAX_BYTES + 1)): grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
    with beside_a_stream(served), grpc.insecure_channel(served.address) as channel:
        for (method, payload), code in refused.items():
            for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
                call = channel.unary_unary(f"{SERVICE}/{method}")
                with pytest.raises(grpc.RpcError) as caught:
                    call(payload, timeout=60, compression=compression)
                assert caught.value.code() is code
        for name in ("/", "/neo_runtime.v1/Generate", "/neo_runtime.v2.GenerationService/Generate"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(name)(WHOLE, timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
