"""A client that stops reading its stream: it costs the others nothing, may come back, and is given up in the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.client import generate_request, rank_request
from neo_runtime.client.errors import to_call_error
from neo_runtime.serving import outbox
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.kit import tiny
from tests.kit.serving import Worker, worker
from tests.kit.workers import until

FILMS = 100  # more spans than wait for a reader
LONG_TITLE = 1_000  # a few spans fill what the connection itself holds
SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1_024), ("grpc.http2.bdp_probe", 0))
ALL_FILMS = generate_request("Talk.", output="items", item_types=["film"], max_items=FILMS, alternatives=9)
RANK = rank_request("film", limit=5)


@pytest.fixture(autouse=True)
def short_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that answers need not be long."""
    monkeypatch.setattr(outbox, "PAUSE_AT", 32)
    monkeypatch.setattr(outbox, "RESUME_AT", 8)


def catalog(folder: Path) -> Catalog:
    made = Catalog.create(folder / "c", tiny.codebooks())
    films = (tiny.upsert(f"film/f{number}") for number in range(FILMS))
    made.apply([replace(film, title=film.title.ljust(LONG_TITLE, ".")) for film in films])
    return made


@contextmanager
def stalled(served: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[pb.GenerateResponse]]:
    """A stream that is read to its first message, once the engine was told to let it rest."""
    rests = threading.Event()
    pause = served.engine.pause
    monkeypatch.setattr(served.engine, "pause", lambda number: (pause(number), rests.set()))
    with grpc.insecure_channel(served.address, options=SMALL_WINDOW) as channel:
        stream = rpc.GenerationServiceStub(channel).Generate(ALL_FILMS, timeout=120)
        assert next(stream).HasField("start")
        assert rests.wait(60)
        yield stream


def items(messages: list[pb.GenerateResponse]) -> list[str]:
    spans = [message.item_span for message in messages if message.HasField("item_span")]
    return [entry.item.item_id for span in spans for row in (span.item, *span.alternatives) for entry in row.items]


def test_a_reader_that_comes_back_gets_the_whole_answer_and_the_others_did_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(tmp_path, catalog=catalog(tmp_path)) as served, grpc.insecure_channel(served.address) as channel:
        stub = rpc.GenerationServiceStub(channel)
        expected = list(stub.Generate(ALL_FILMS, timeout=120))
        ranked = stub.RankItems(RANK, timeout=60).results
        with stalled(served, monkeypatch) as stream:
            assert stub.RankItems(RANK, timeout=60).results == ranked
            until(lambda: served.engine.running == 1, "the stream alone, that keeps what it has", lambda: "")
            rest = list(stream)
        assert items(rest) == items(expected)
        assert rest[-1].finish == expected[-1].finish
        until(lambda: not served.engine.running, "an idle engine", lambda: "")


def test_a_reader_that_does_not_come_back_frees_the_engine_and_learns_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP_S", 0.2)
    patient = worker(tmp_path, catalog=catalog(tmp_path), max_seconds=600)
    with patient as served, stalled(served, monkeypatch) as stream:
        until(lambda: not served.engine.running, "an engine without the stream", lambda: "")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        error = to_call_error(caught.value)
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CLIENT")


def test_a_reader_that_goes_away_in_the_middle_of_a_write_frees_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(tmp_path, catalog=catalog(tmp_path), max_seconds=600) as served:
        with stalled(served, monkeypatch):
            until(lambda: served.engine.running == 1, "the stream", lambda: "")
        until(lambda: not served.engine.running, "an idle engine", lambda: "")
        assert served.all_memory_is_free()
