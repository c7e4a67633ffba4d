"""Warm before a request: the same answer as without, sooner; nobody is harmed by what the catalog does in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.client import (
    AsyncNeoClient,
    CallError,
    Finish,
    ItemSpan,
    NeoClient,
    Text,
    generate_request,
    rank_request,
)
from neo_runtime.types import ItemKey
from neo_runtime.v1 import generation_service_pb2 as pb
from tests.kit import processes, tiny

BOOKS = [ItemKey("book", f"b{number}") for number in range(16)]
USER, ASSISTANT = pb.Message.ROLE_USER, pb.Message.ROLE_ASSISTANT


@dataclass
class Pair:
    """Two workers over one catalog: one that remembers prompts, and one that does not."""

    catalog: Catalog
    addresses: tuple[str, str]
    warm: NeoClient
    cold: NeoClient
    metrics_port: int

    def neo(self, *arguments: str) -> None:
        env = {"NEO_CATALOG": str(self.catalog.store.path)}
        done = processes.neo("snapshot", *arguments, env=env)
        assert done.returncode == 0, done.stdout + done.stderr

    def serve(self, name: str) -> None:
        """Swap both workers to a snapshot, or to the live catalog."""
        workers = [part for address in self.addresses for part in ("--worker", address)]
        self.neo("promote", name, "--yes", "--wait", "20", *workers)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("pair")
    catalog = tiny.catalog(folder / "catalog", 20)
    tiny.model().save(folder / "model")
    for name in ("warm", "cold"):
        (folder / name).mkdir()
    places, port = (folder / "catalog", folder / "model"), processes.free_port()
    with (
        processes.serving(*places, folder / "warm", metrics_port=str(port)) as warm,
        processes.serving(*places, folder / "cold", prefix_cache_mb="0") as cold,
        NeoClient(warm) as warm_client,
        NeoClient(cold) as cold_client,
    ):
        yield Pair(catalog, (warm, cold), warm_client, cold_client, port)
    catalog.close()


def assert_same(pair: Pair, history: list[ItemKey]) -> tuple[int, int]:
    """Lists and streams of both workers; how many tokens of either prompt the one took from its cache."""
    listed = rank_request("film", history=history, limit=30, include_sids=True)
    ranked, expected = pair.warm.rank(listed), pair.cold.rank(listed)
    assert [row.codes for row in ranked.results] == [row.codes for row in expected.results]
    assert [row.items for row in ranked.results] == [row.items for row in expected.results]
    logprobs = [row.logprob for row in expected.results]
    assert [row.logprob for row in ranked.results] == pytest.approx(logprobs, abs=1e-5)
    streamed = generate_request(
        task="explain", item_type="film", history=history, temperature=1.0, seed=5, max_output_tokens=20, max_items=3
    )
    said, finish = content(pair.warm, streamed)
    unwarmed, cold_finish = content(pair.cold, streamed)
    assert (said, finish.reason) == (unwarmed, cold_finish.reason)
    assert (ranked.generation, ranked.snapshot) == (expected.generation, expected.snapshot)
    assert expected.usage.cached_prompt_tokens == cold_finish.usage.cached_prompt_tokens == 0
    return ranked.usage.cached_prompt_tokens, finish.usage.cached_prompt_tokens


def content(client: NeoClient, request: pb.GenerateRequest) -> tuple[list[object], Finish]:
    events = list(client.generate(request))
    finish = events[-1]
    assert isinstance(finish, Finish)
    text = "".join(event.text for event in events if isinstance(event, Text))
    return [text, *(event.item for event in events if isinstance(event, ItemSpan))], finish


def test_answers_are_those_of_a_worker_that_was_not_warmed(pair: Pair) -> None:
    history = BOOKS[:10]
    request = rank_request("film", history=history)
    warmed = pair.warm.warm(request)
    assert warmed.cached_prompt_tokens == 0
    assert warmed.generation == pair.catalog.reader.view().generation
    listed, streamed = assert_same(pair, history)
    assert listed == warmed.prompt_tokens, "all of it"
    assert streamed > 4 * len(history), "as far as another task begins alike"
    assert pair.warm.warm(request).cached_prompt_tokens == warmed.prompt_tokens


def test_a_history_that_grew_and_items_that_moved_or_went_meanwhile_do_no_harm(pair: Pair) -> None:
    history = BOOKS[5:12]
    pair.warm.warm(rank_request("film", history=history))
    known = min(assert_same(pair, [*history, BOOKS[13]]))
    assert known > 4 * len(history)
    moved, gone = history[3], history[5]
    before = pair.warm.item(moved).sid.codes
    pair.catalog.apply([tiny.upsert(str(moved), time=9, version=1), tiny.delete(str(gone), time=9)])
    assert pair.warm.item(moved).sid.codes != before
    assert 4 * 3 < min(assert_same(pair, history)) < known - 4 * 3, "up to the one that moved"
    assert pair.warm.warm(rank_request("film", history=history)).unknown_history_items == 1


def test_a_swap_to_another_catalog_in_between_does_no_harm(pair: Pair) -> None:
    history = [ItemKey("artist", f"a{number}") for number in range(6)]
    pair.neo("create", "--name", "before")
    pair.catalog.apply([tiny.upsert(str(key), time=20, version=3) for key in history[2:]])
    live = pair.warm.warm(rank_request("film", history=history))
    pair.serve("before")
    swapped = pair.warm.warm(rank_request("film", history=history[:4]))
    assert (live.snapshot, swapped.snapshot) == (pair.catalog.reader.snapshot, "catalogs/default/snapshots/before")
    assert min(assert_same(pair, history)) > 0
    pair.serve("live")
    assert assert_same(pair, history)[0] == live.prompt_tokens


def test_a_conversation_so_far_is_warmed_before_it_goes_on(pair: Pair) -> None:
    messages = [
        pb.Message(role=USER, contents=[pb.Content(text="Something to read?")]),
        pb.Message(role=ASSISTANT, contents=[pb.Content(text="Yes, a film.")]),
    ]
    so_far = pb.GenerateRequest(conversation=pb.Conversation(messages=messages))
    warmed = pair.warm.warm(so_far)
    messages.append(pb.Message(role=USER, contents=[pb.Content(text="Which one?")]))
    request = pb.GenerateRequest(conversation=pb.Conversation(messages=messages))
    said, finish = content(pair.warm, request)
    assert finish.usage.cached_prompt_tokens == warmed.prompt_tokens
    assert said == content(pair.cold, request)[0]


def test_metrics_tell_what_the_cache_holds_and_saves(pair: Pair) -> None:
    def measured() -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{pair.metrics_port}/metrics") as page:
            lines = [line.decode().split() for line in page if line.startswith(b"neo_prefix_cache")]
        return {name.removeprefix("neo_prefix_cache_"): float(value) for name, value in lines}

    request = rank_request("book", history=[ItemKey("film", f"f{number}") for number in range(5)])
    warmed = pair.warm.warm(request)
    before = measured()
    pair.warm.rank(request)
    after = measured()
    assert after["bytes"] >= before["bytes"] > 0
    for name in ("asked_tokens_total", "hit_tokens_total"):
        assert after[name] - before[name] == warmed.prompt_tokens


REFUSED = {
    "no prompt": (generate_request(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    "model": (rank_request("film", model="another"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
    "history": (
        rank_request("film", history=[ItemKey("song", "s")]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"
    ),
    "unknown item": (
        generate_request(["like ", ItemKey("film", "nope")]), grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND"
    ),
    "too long": (generate_request("a" * 300), grpc.StatusCode.OUT_OF_RANGE, "PROMPT_TOO_LONG"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_not_be_asked_is_not_warmed(pair: Pair, name: str) -> None:
    request, code, reason = REFUSED[name]
    async with AsyncNeoClient(pair.addresses[0]) as client:
        with pytest.raises(CallError) as caught:
            await client.warm(request)
        assert (caught.value.code, caught.value.reason) == (code, reason)
        assert (await client.warm(rank_request("film"))).prompt_tokens > 0


def test_a_worker_that_remembers_nothing_says_what_to_do(pair: Pair) -> None:
    with pytest.raises(CallError, match="prefix_cache_mb") as caught:
        pair.cold.warm(rank_request("film"))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PREFIX_CACHE")
