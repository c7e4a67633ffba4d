"""In fp32 with full-vocabulary scores our beams are those of `generate(num_beams=…)`: same tuples, order and scores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from neo_runtime.engine import local, request
from neo_runtime.engine.api import (
    Constraints,
    Decoding,
    EngineEvent,
    GenerateWork,
    RankedList,
    RankWork,
    Span,
    TextChunk,
)
from neo_runtime.engine.backbone import PackedBackbone, PlainBackbone
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.trie.step import Floats
from neo_runtime.types import ItemKey
from tests.kit import running, tiny

BEAMS = 30


def hugging_face(
    model: NeoModel, prompt: list[int], item_type: str, tuples: list[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], float]]:
    """Beams of `generate`, constrained by a plain prefix dict."""
    allowed: dict[tuple[int, ...], set[int]] = {}
    first = [model.vocabulary.level_tokens(item_type, level).start for level in range(len(tuples[0]))]
    for codes in tuples:
        tokens = [start + code for start, code in zip(first, codes, strict=True)]
        for depth, token in enumerate(tokens):
            allowed.setdefault(tuple(tokens[:depth]), set()).add(token)
    out = model.lm.generate(
        torch.tensor([prompt]), num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=len(first), do_sample=False,
        length_penalty=0.0, output_scores=True, return_dict_in_generate=True,
        prefix_allowed_tokens_fn=lambda _, ids: sorted(allowed[tuple(ids[len(prompt) :].tolist())]),
    )  # fmt: skip
    return [
        (tuple(t - s for t, s in zip(row[len(prompt) :].tolist(), first, strict=True)), float(score))
        for row, score in zip(out.sequences, out.sequences_scores, strict=True)
    ]


def padded() -> NeoModel:
    """Many models have more rows than tokens."""
    model = tiny.model()
    model.lm.resize_token_embeddings(model.vocabulary.size + 30, mean_resizing=False)
    return model


@pytest.mark.parametrize("make", [tiny.model, tiny.llama, padded], ids=["qwen3", "llama", "padded"])
@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "plain"])
def test_ranked_tuples_and_scores_equal_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], NeoModel], is_packed: bool
) -> None:
    model = make()
    if not is_packed:
        monkeypatch.setattr(request, "backbone_of", lambda lm, **_: PlainBackbone(lm))
    catalog = tiny.catalog(tmp_path / "c", 60)
    with catalog.store.read() as txn:
        tuples = [catalog.codebooks["film"].space.unpack_one(sid) for sid, _ in txn.sids("film")]
    with running.engine(model, catalog.reader, normalization=Normalization.VOCABULARY) as engine:
        for text in ("Recommend a film.", "Something else entirely, and longer than the first prompt"):
            prompt = Conversation((Turn("user", (text, ItemKey("book", "b1"))),))
            work = RankWork(prompt, constraints=Constraints(("film",)), max_results=BEAMS)
            (ours,) = running.answer(engine, work)
            assert isinstance(ours, RankedList)
            renderer = engine._decoder.renderer
            ids = renderer.render(prompt, catalog.reader.pin([ItemKey("book", "b1")]).sids)
            theirs = hugging_face(model, [*ids, model.vocabulary.span_open], "film", tuples)
            assert [row.codes for row in ours.ranked] == [codes for codes, _ in theirs]
            for row, (_, score) in zip(ours.ranked, theirs, strict=True):
                assert row.logprob == pytest.approx(score, abs=1e-5)
            others = replace(work, constraints=Constraints(("film", "book", "artist")), max_results=180)
            (everything,) = running.answer(engine, others)
            assert isinstance(everything, RankedList)
            live = sum(len(view) for view in catalog.reader.view().types.values())
            assert len({row.codes for row in everything.ranked}) == live > 100, "every item of every type, once"
    catalog.close()


def mix(rng: random.Random) -> list[GenerateWork | RankWork]:
    """Prompts that begin alike or not, from a few words to many; lists of several widths, and streams beside them."""
    words = ["a film", "something else", "war and peace", "for someone who liked this"]
    works: list[GenerateWork | RankWork] = []
    for _ in range(8):
        text = "Recommend " + " and ".join(rng.choices(words, k=rng.randint(1, 8)))
        prompt = Conversation((Turn("user", (text, ItemKey("book", f"b{rng.randint(0, 3)}"))),))
        if rng.random() < 0.3:
            decoding = Decoding(
                max_output_tokens=rng.randint(1, 20), max_items=2, seed=1, temperature=rng.choice([0.0, 1.0])
            )
            works.append(GenerateWork(prompt, decoding=decoding))
        else:
            works.append(RankWork(prompt, constraints=Constraints(("film",)), max_results=BEAMS))
    return works


def content(events: list[EngineEvent]) -> list[object]:
    """Text and items of a stream."""
    return [
        event.text if isinstance(event, TextChunk) else event.ranked[0].codes
        for event in events
        if isinstance(event, TextChunk | Span)
    ]


@pytest.mark.parametrize("make", [tiny.model, tiny.llama], ids=["qwen3", "llama"])
@pytest.mark.parametrize("cache_bytes", [0, 30_000, 10**8], ids=["no cache", "a cache too small", "cache"])
def test_beams_are_the_same_whatever_shares_the_pass_however_prompts_are_fed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], NeoModel], cache_bytes: int
) -> None:
    monkeypatch.setattr(local, "_STEP_TOKENS", 24)
    monkeypatch.setattr(local, "_STREAM_STEP_FACTOR", 1.0)  # beside streams, prompts go in the smallest parts
    monkeypatch.setattr(local, "_LEAST_PROMPT_TOKENS", 5)
    model, catalog, rng = make(), tiny.catalog(tmp_path / "c", 60), random.Random(3)
    with catalog.store.read() as txn:
        tuples = [catalog.codebooks["film"].space.unpack_one(sid) for sid, _ in txn.sids("film")]
    with running.engine(
        model, catalog.reader, normalization=Normalization.VOCABULARY, cache_bytes=cache_bytes
    ) as engine:
        for _ in range(3):
            works = mix(rng)
            for work, events in zip(works, running.answers(engine, works), strict=True):
                if isinstance(work, GenerateWork):
                    assert content(events) == content(running.answer(engine, work))
                    continue
                (ours,) = events
                assert isinstance(ours, RankedList)
                assert isinstance(work.prompt, Conversation)
                sids = catalog.reader.pin([ItemKey("book", f"b{n}") for n in range(4)]).sids
                ids = engine._decoder.renderer.render(work.prompt, sids)
                theirs = hugging_face(model, [*ids, model.vocabulary.span_open], "film", tuples)
                assert [row.codes for row in ours.ranked] == [codes for codes, _ in theirs]
                assert [row.logprob for row in ours.ranked] == pytest.approx([score for _, score in theirs], abs=1e-5)
    catalog.close()


def test_codes_that_leave_no_choice_are_fed_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few items of four codes: behind the first ones there is one way each, and the scores are those of generate."""
    model, catalog = tiny.model(), tiny.catalog(tmp_path / "c", 5)
    with catalog.store.read() as txn:
        tuples = [catalog.codebooks["artist"].space.unpack_one(sid) for sid, _ in txn.sids("artist")]
    passes = list[int]()
    run = PackedBackbone.run

    def counted(backbone: PackedBackbone, feeds: Sequence[Feed]) -> list[list[Floats]]:
        passes.append(sum(map(len, feeds)))
        return run(backbone, feeds)

    monkeypatch.setattr(PackedBackbone, "run", counted)
    with running.engine(model, catalog.reader, normalization=Normalization.VOCABULARY) as engine:
        passes.clear()
        prompt = Conversation((Turn("user", ("Describe an artist.",)),))
        (ours,) = running.answer(engine, RankWork(prompt, constraints=Constraints(("artist",)), max_results=BEAMS))
        assert isinstance(ours, RankedList)
        ids = engine._decoder.renderer.render(prompt, {})
    theirs = hugging_face(model, [*ids, model.vocabulary.span_open], "artist", tuples)[: len(tuples)]
    assert [row.codes for row in ours.ranked] == [codes for codes, _ in theirs]
    assert [row.logprob for row in ours.ranked] == pytest.approx([score for _, score in theirs], abs=1e-5)
    prefixes = [len({codes[:depth] for codes in tuples}) for depth in (1, 2, 3)]
    choices = [prefixes[0], *(b for a, b in pairwise(prefixes) if a != b)]
    assert len(passes) == 1 + len(choices) < 4, "one for the prompt, and one for each level that has a choice"
    assert passes[1:] == [prefixes[0] * (prefixes.count(prefixes[0])), *passes[2:]]
    catalog.close()
