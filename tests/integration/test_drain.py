"""SIGTERM: watchers are told, running answers may finish, what is left gets UNAVAILABLE with a reason."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from neo_runtime.client import CallError, NeoClient, Start, generate_request
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.model.fresh import DecoderShape
from neo_runtime.serving.server import serve
from tests.kit import running, tiny

CONTEXT = 8_192
ENDLESS = generate_request("Talk.", temperature=3.0, seed=3, max_output_tokens=6_000)


class Worker:
    """A server in this process: a test stops it and sees when it is gone."""

    def __init__(self, folder: Path, *, max_seconds: float, drain_seconds: float) -> None:
        self.catalog = tiny.catalog(folder / "c", 5)
        model = tiny.model(shape=DecoderShape(width=32, layers=1, feed_forward=64, context_tokens=CONTEXT))
        limits = replace(running.LIMITS, max_context_tokens=CONTEXT, max_output_tokens=6_000)
        decoder = Decoder(model, self.catalog.reader, limits)
        decoder.banned = np.array(sorted({*decoder.banned, *decoder.end_tokens}))  # no answer ends early
        self.engine, self.address = LocalEngine(decoder), ""
        self._stop, self._ready = threading.Event(), threading.Event()
        self._settings = {"listen": "127.0.0.1:0", "max_seconds": max_seconds, "drain_seconds": drain_seconds}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(model)))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self, model: object) -> None:
        def ready(address: str) -> None:
            self.address = address
            self._ready.set()

        async def stop() -> None:
            await asyncio.to_thread(self._stop.wait)

        served, follower = running.served(self.catalog.reader), running.follower(self.catalog.store.path)
        await serve(self.engine, model.about, served, follower, filters={}, stop=stop, ready=ready, **self._settings)  # type: ignore[arg-type]

    def stop(self) -> float:
        """Seconds until it is gone."""
        started = time.monotonic()
        self._stop.set()
        self._thread.join(30)
        return time.monotonic() - started


@contextmanager
def worker(folder: Path, *, max_seconds: float = 60.0, drain_seconds: float = 20.0) -> Iterator[Worker]:
    made = Worker(folder, max_seconds=max_seconds, drain_seconds=drain_seconds)
    try:
        yield made
    finally:
        made.stop()
        made.engine.stop()
        made.catalog.close()


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
