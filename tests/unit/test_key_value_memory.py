"""Memory of keys and values: requests begin where there is room for all that they may need; long ones give it back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from neo_runtime.engine.api import Decoding, EngineEvent, Finished, GenerateWork, RankedList, RankWork, Span, TextChunk
from neo_runtime.engine.backbone import PackedBackbone
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.pool import KeyValuePool
from neo_runtime.engine.request import Decoder
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.trie.step import Floats
from tests.kit import processes, running, tiny


def asking(text: str) -> Conversation:
    return Conversation((Turn("user", (text,)),))


WORKS: list[GenerateWork | RankWork] = [
    GenerateWork(asking("one"), decoding=Decoding(max_output_tokens=100, max_items=1, temperature=3.0, seed=1)),
    GenerateWork(asking("two"), decoding=Decoding(max_output_tokens=100, max_items=1, temperature=3.0, seed=2)),
    RankWork(asking("three")),
    RankWork(asking("four")),
]


def content(events: Sequence[EngineEvent]) -> list[object]:
    found: list[object] = ["".join(event.text for event in events if isinstance(event, TextChunk))]
    found += [event.ranked[0].codes for event in events if isinstance(event, Span)]
    return found + [[row.codes for row in event.ranked] for event in events if isinstance(event, RankedList)]


def test_requests_wait_for_memory_in_the_order_of_coming_and_answers_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, passes, run = tiny.catalog(tmp_path / "c", 20), list[list[Feed]](), PackedBackbone.run

    def seen(backbone: PackedBackbone, feeds: Sequence[Feed]) -> list[list[Floats]]:
        passes.append(list(feeds))
        return run(backbone, feeds)

    monkeypatch.setattr(PackedBackbone, "run", seen)
    with running.engine(tiny.model(), catalog.reader) as plenty:
        expected = [content(running.answer(plenty, work)) for work in WORKS]
    decoder = Decoder(tiny.model(), catalog.reader, running.LIMITS)
    decoder.max_tokens = 200  # one stream, or both lists
    engine = LocalEngine(decoder, has_thread=False)
    inboxes: list[list[EngineEvent]] = [[] for _ in WORKS]
    for work, inbox in zip(WORKS, inboxes, strict=True):
        engine.submit(work, inbox.append)  # type: ignore[arg-type]
    passes.clear()
    while engine.running or engine.queued:
        engine.turn()
    assert [content(events) for events in inboxes] == expected
    first_seen = list(dict.fromkeys(id(feed.context) for feeds in passes for feed in feeds))
    assert len(first_seen) == len(WORKS)
    together = {tuple(sorted(first_seen.index(id(feed.context)) for feed in feeds)) for feeds in passes}
    assert together == {(0,), (1,), (2, 3)}
    catalog.close()


def test_what_needs_more_than_there_is_runs_alone(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    decoder = Decoder(tiny.model(), catalog.reader, running.LIMITS, max_bytes=1)
    engine = LocalEngine(decoder)
    assert all(isinstance(events[-1], Finished | RankedList) for events in running.answers(engine, WORKS))
    engine.stop()
    catalog.close()


def test_long_requests_give_their_memory_back_and_leave_zeros() -> None:
    pool, key = KeyValuePool(2, 20_000), torch.zeros(1, 8, 1, 64)
    layer = pool.layer(0, key)
    for tensor in layer:
        tensor.fill_(1)
    row = pool.take()
    full = processes.resident(os.getpid())
    pool.give_back(row, 20_000)
    assert processes.resident(os.getpid()) < full - 0.8 * layer[0][row].nbytes * 2
    for tensor in layer:
        assert (tensor[row, :, :2_048] == 1).all(), "for the next request"
        assert (tensor[row, :, 2_100:] == 0).all()
        assert (tensor[1 - row] == 1).all(), "another request's"
    assert pool.column_bytes == 2 * 8 * 64 * 4
