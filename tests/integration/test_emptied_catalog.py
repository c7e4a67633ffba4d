"""Every item is deleted while an answer is under way: it ends with its reason, and what it named is what it says."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
import pytest

from neo_runtime.client import generate_request, rank_request
from neo_runtime.client.errors import to_call_error
from neo_runtime.engine.passes import Feed
from neo_runtime.trie.step import Floats
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.kit import tiny
from tests.kit.serving import MAX_TOKENS, Worker, worker
from tests.kit.workers import until

PER_TYPE = 16
ITEMS = tiny.items(PER_TYPE)
RANK = rank_request("film", limit=50, include_sids=True)
STREAMS = {
    "items": (generate_request("Talk.", output="items", max_items=40), 20),
    "mixed": (generate_request("Talk.", temperature=3.0, seed=1, max_output_tokens=MAX_TOKENS, max_items=40), 400),
}
"""Each with passes after which it has named an item."""


class Gate:
    """Between an engine and its model."""

    def __init__(self, served: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changed, self._left, self._is_reached = threading.Condition(), math.inf, False
        self._run = served.decoder.backbone.run
        monkeypatch.setattr(served.decoder.backbone, "run", self._held_run)

    def _held_run(self, feeds: Sequence[Feed]) -> list[list[Floats]]:
        with self._changed:
            self._left -= 1
            self._is_reached = self._left < 0
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._left >= 0, 60)
        return self._run(feeds)

    @contextmanager
    def held(self, after: int = 0) -> Iterator[None]:
        """So many passes go through, and no further one as long as the block lasts."""
        self._move(after)
        try:
            yield
        finally:
            self._move(math.inf)

    def _move(self, left: float) -> None:
        with self._changed:
            self._left, self._is_reached = left, False
            self._changed.notify_all()

    def wait(self) -> None:
        """Until the engine stands before it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_reached, 60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("served")
    with worker(folder, catalog=tiny.catalog(folder / "c", PER_TYPE)) as made:
        yield made


@pytest.fixture
def gate(served: Worker, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(served, monkeypatch)


@pytest.fixture
def stub(served: Worker) -> Iterator[rpc.GenerationServiceStub]:
    with grpc.insecure_channel(served.address) as channel:
        yield rpc.GenerationServiceStub(channel)


def say(served: Worker, *, deleted: bool) -> int:
    """Of all items, that they are gone or back; the new generation."""
    state = served.catalog.reader.view().generation
    changes = [(tiny.delete if deleted else tiny.upsert)(item, time=state + 1) for item in ITEMS]
    served.catalog.apply(changes)
    return served.catalog.reader.view().generation


def listed(response: pb.RankItemsResponse) -> list[tuple[str, tuple[int, ...]]]:
    return [(row.items[0].item.item_id, tuple(row.sid.codes)) for row in response.results]


@pytest.mark.parametrize("output", STREAMS)
def test_a_stream_ends_where_it_asks_for_an_item_and_there_is_none(
    served: Worker, gate: Gate, stub: rpc.GenerationServiceStub, output: str
) -> None:
    before = listed(stub.RankItems(RANK, timeout=60))
    request, passes = STREAMS[output]
    with gate.held(after=passes):
        stream = stub.Generate(request, timeout=120)
        gate.wait()
        emptied = say(served, deleted=True)
    events = list(stream)
    spans = [event.item_span for event in events if event.HasField("item_span")]
    assert spans, "it was in the middle"
    assert all(span.catalog.generation < emptied for span in spans)
    assert len({span.item.items[0].item.item_id for span in spans}) == len(spans)
    assert events[-1].finish.reason == pb.Finish.REASON_NO_ELIGIBLE_ITEM
    with pytest.raises(grpc.RpcError) as caught:
        stub.RankItems(RANK, timeout=60)
    error = to_call_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_ITEM")
    until(lambda: not served.engine.running, "an idle engine", lambda: "")
    assert served.all_memory_is_free()
    say(served, deleted=False)
    assert listed(stub.RankItems(RANK, timeout=60)) == before


def test_a_list_that_is_under_way_is_whole_and_of_the_generation_that_it_names(
    served: Worker, gate: Gate, stub: rpc.GenerationServiceStub
) -> None:
    before = stub.RankItems(RANK, timeout=60)
    with gate.held():
        call = stub.RankItems.future(RANK, timeout=60)
        gate.wait()
        assert say(served, deleted=True) > before.catalog.generation
    response = call.result()
    assert listed(response) == listed(before)
    assert response.catalog == before.catalog
    with pytest.raises(grpc.RpcError) as caught:
        stub.RankItems(RANK, timeout=60)
    assert to_call_error(caught.value).reason == "NO_ELIGIBLE_ITEM"
    say(served, deleted=False)
    assert listed(stub.RankItems(RANK, timeout=60)) == listed(before)


def test_a_stream_that_waited_in_the_queue_meanwhile_ends_too(
    served: Worker, gate: Gate, stub: rpc.GenerationServiceStub
) -> None:
    with gate.held():
        first = stub.Generate(STREAMS["items"][0], timeout=60)
        gate.wait()
        second = stub.Generate(STREAMS["items"][0], timeout=60)
        until(lambda: served.engine.queued == 1, "a stream that waits", lambda: str(served.engine.queued))
        say(served, deleted=True)
    for stream in (first, second):
        events = list(stream)
        assert events[-1].finish.reason == pb.Finish.REASON_NO_ELIGIBLE_ITEM
        assert not any(event.HasField("item_span") for event in events)
    say(served, deleted=False)
    assert any(event.HasField("item_span") for event in stub.Generate(STREAMS["items"][0], timeout=60))
