"""Clients that are gone in the middle of an answer, however they went: the engine forgets them, memory included."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest
from prometheus_client import REGISTRY

from neo_runtime.client import NeoClient, Start, generate_request, rank_request
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.kit import frames
from tests.kit.processes import ROOT
from tests.kit.serving import MAX_TOKENS, Worker, worker
from tests.kit.workers import until

STREAMS = 3
ENDLESS = generate_request("Talk.", temperature=3.0, seed=3, max_output_tokens=MAX_TOKENS)
CALL = frames.call(frames.message(ENDLESS.SerializeToString()))
CLIENT = """
import sys, time
from neo_runtime.client import NeoClient
from neo_runtime.v1.generation_service_pb2 import GenerateRequest
client, request = NeoClient(sys.argv[1]), GenerateRequest.FromString(bytes.fromhex(sys.argv[2]))
streams = [client.generate(request) for _ in range(int(sys.argv[3]))]
for stream in streams:
    next(stream), next(stream)
print("streaming", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with worker(tmp_path_factory.mktemp("served")) as made:
        yield made


def cancelled() -> float:
    """Calls that ended without an answer and without an error."""
    names = {"rpc": "Generate", "code": "CANCELLED"}
    return REGISTRY.get_sample_value("neo_requests_total", names) or 0.0


def kill_the_process(served: Worker) -> None:
    arguments = [served.address, ENDLESS.SerializeToString().hex(), str(STREAMS)]
    command = [sys.executable, "-c", CLIENT, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == "streaming\n"
            assert served.engine.running == STREAMS
        finally:
            client.kill()


def close_the_channel(served: Worker) -> None:
    channel = grpc.insecure_channel(served.address)
    streams = [rpc.GenerationServiceStub(channel).Generate(ENDLESS) for _ in range(STREAMS)]
    for stream in streams:
        assert next(stream).HasField("start")
    assert served.engine.running == STREAMS
    channel.close()


def streaming(served: Worker) -> list[socket.socket]:
    """Bare connections on which answers arrive."""
    connections = [frames.connect(served.address) for _ in range(STREAMS)]
    for connection in connections:
        connection.sendall(frames.opening() + CALL)
        said = b""
        while b"catalogs/" not in said:  # the name of what is served, in the first message
            part = connection.recv(1 << 16)
            assert part, "the worker hung up"
            said += part
    assert served.engine.running == STREAMS
    return connections


def hang_up(served: Worker) -> None:
    for connection in streaming(served):
        connection.close()


def reset_the_connection(served: Worker) -> None:
    for connection in streaming(served):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def break_off_in_the_middle_of_a_frame(served: Worker) -> None:
    for connection in streaming(served):
        connection.sendall(frames.frame(frames.WINDOW_UPDATE, b"\0\0\0\1", stream=1)[:11])
        connection.close()


WAYS = [kill_the_process, close_the_channel, hang_up, reset_the_connection, break_off_in_the_middle_of_a_frame]


@pytest.mark.parametrize("vanish", WAYS)
def test_a_client_that_is_gone_leaves_nothing_behind(served: Worker, vanish: Callable[[Worker], None]) -> None:
    before = cancelled()
    vanish(served)
    until(lambda: cancelled() == before + STREAMS, "calls that are cancelled", lambda: f"{cancelled() - before:g}")
    assert_nothing_is_left(served)


def assert_nothing_is_left(served: Worker) -> None:
    until(lambda: not served.engine.running, "an idle engine", lambda: str(served.engine.running))
    assert served.all_memory_is_free()
    with NeoClient(served.address) as client:
        info = client.serving_info()
        assert (info.running_requests, info.queued_requests) == (0, 0)
        assert client.rank(rank_request("film", limit=3)).results


def test_whoever_waits_for_a_place_and_goes_leaves_the_queue(served: Worker) -> None:
    with NeoClient(served.address) as busy:
        streams = [busy.generate(ENDLESS) for _ in range(served.decoder.max_running)]
        assert all(isinstance(next(stream), Start) for stream in streams)
        with grpc.insecure_channel(served.address) as channel:
            stub = rpc.GenerationServiceStub(channel)
            waiting = [stub.Generate(ENDLESS), stub.RankItems.future(rank_request("film"))]
            until(lambda: served.engine.queued == len(waiting), "a queue", lambda: str(served.engine.queued))
        until(lambda: served.engine.queued == 0, "an empty queue", lambda: str(served.engine.queued))
        assert served.engine.running == served.decoder.max_running
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
    assert_nothing_is_left(served)


def test_a_deadline_that_passes_before_the_first_token_leaves_nothing(served: Worker) -> None:
    long = pb.GenerateRequest()
    long.CopyFrom(ENDLESS)
    long.conversation.messages[0].contents[0].text = "word " * 1_500
    with grpc.insecure_channel(served.address) as channel:
        stub = rpc.GenerationServiceStub(channel)
        for timeout in (1e-6, 1e-3, 5e-3, 2e-2):
            with suppress(grpc.RpcError):
                list(stub.Generate(long, timeout=timeout))
                pytest.fail("an endless answer has ended")
    assert_nothing_is_left(served)
