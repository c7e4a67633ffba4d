"""The promise of grounded decoding: every span names an item that is valid in the generation that the span names."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.engine.api import Constraints, Decoding, GenerateWork, OutputFormat, Span
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import fresh_tokenizer
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.types import ItemKey
from tests.kit import running, tiny

SPANS = 10_000


class Changer(threading.Thread):
    """Publishes, moves and deletes items all the time, and remembers what every generation holds."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__()
        self.catalog, self.stop, self.random = catalog, threading.Event(), random.Random(0)
        self.homes: dict[ItemKey, int] = {}
        self.generations: dict[int, dict[ItemKey, int]] = {}
        self.remember()

    def remember(self) -> None:
        with self.catalog.store.read() as txn:
            homes = {ItemKey(kind, i): sid for kind in tiny.TYPES for sid, bs in txn.sids(kind) for _, i in bs}
            self.generations[txn.state().generation] = homes

    def run(self) -> None:
        time = 1
        while not self.stop.wait(0.05):
            time += 1
            batch = []
            for _ in range(3):
                item = self.random.choice(tiny.items(25))
                if self.random.random() < 0.4:
                    batch.append(tiny.delete(item, time=time))
                else:
                    batch.append(tiny.upsert(item, time=time, version=self.random.randrange(3)))
            self.catalog.apply(batch)
            self.remember()


def gpt2() -> NeoModel:
    """Random weights in the architecture that spends the least time around its matrices."""
    torch.manual_seed(0)
    tokenizer = fresh_tokenizer(["Recommend a film for someone who liked this."], 300)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=256, n_embd=16, n_layer=1, n_head=2, **ends)
    lm = GPT2LMHeadModel(config).eval()
    return NeoModel.extend("gpt2", lm, tokenizer, tiny.codebooks())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_sampled_spans_are_all_valid_in_the_generation_they_name(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    changer = Changer(catalog)
    spans: list[Span] = []
    with running.engine(gpt2(), catalog.reader) as engine:
        changer.start()
        try:
            seed = 0
            while len(spans) < SPANS:
                decoding = Decoding(temperature=1.5, seed=(seed := seed + 1), beam_width=1 + 3 * (seed % 10 == 0))
                work = GenerateWork(
                    TaskPrompt(Task.RECOMMEND, "film"),
                    decoding=decoding,
                    constraints=Constraints(deny=frozenset({ItemKey("film", "f3")})),
                    format=OutputFormat.ITEMS_ONLY,
                )
                events = running.answer(engine, work)
                answer = [event for event in events if isinstance(event, Span)]
                names = [(span.ranked[0].item_type, span.ranked[0].item_ids[0]) for span in answer]
                assert len(names) == len(set(names)), "an answer names an item once"
                spans += answer
        finally:
            changer.stop.set()
            changer.join()
    generations = {span.generation for span in spans}
    assert len(generations) > 100, "the catalog really changed while spans were decoded"
    for span in spans:
        homes = changer.generations[span.generation]
        for ranked in span.ranked:
            sid = catalog.codebooks[ranked.item_type].space.pack_one(ranked.codes)
            for item_id in ranked.item_ids:
                key = ItemKey(ranked.item_type, item_id)
                assert homes.get(key) == sid, f"{key} is not on {ranked.codes} in generation {span.generation}"
                assert key != ItemKey("film", "f3"), "denied"
    catalog.close()
