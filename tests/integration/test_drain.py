"""SIGTERM: watchers are told, running answers may finish, what is left gets UNAVAILABLE with a reason."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from neo_runtime.client import CallError, NeoClient, Start, generate_request
from tests.kit.serving import MAX_TOKENS, worker

ENDLESS = generate_request("Talk.", temperature=3.0, seed=3, max_output_tokens=MAX_TOKENS)


def test_a_watcher_of_health_is_told_and_does_not_hold_an_idle_worker(tmp_path: Path) -> None:
    with worker(tmp_path) as served, grpc.insecure_channel(served.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert served.stop() < 10
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_an_answer_that_outlasts_the_drain_ends_with_its_reason(tmp_path: Path) -> None:
    with worker(tmp_path, drain_seconds=0.2) as served, NeoClient(served.address) as client:
        stream = client.generate(ENDLESS)
        assert isinstance(next(stream), Start)
        served.stop()
        with pytest.raises(CallError) as caught:
            list(stream)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert caught.value.retriable


@pytest.mark.parametrize("pause", [0.0, 1.0], ids=["read", "not read for a while"])
def test_the_workers_own_limit_has_a_reason_too_whenever_it_passes(tmp_path: Path, pause: float) -> None:
    with worker(tmp_path, max_seconds=0.3) as served, NeoClient(served.address, timeout_s=20) as client:
        for _ in range(4):  # in the middle of a write, or between two
            stream = client.generate(ENDLESS)
            next(stream)
            time.sleep(pause)
            assert not pause or not served.engine.running
            with pytest.raises(CallError) as caught:
                list(stream)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "WORKER_DEADLINE")
