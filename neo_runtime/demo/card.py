"""Measure the demo model on simulated users that it never saw, and say what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.demo.samples import describe, shared
from neo_runtime.demo.taste import DemoItem, History
from neo_runtime.engine.api import (
    Constraints,
    EngineLimits,
    GenerateWork,
    Ranked,
    RankedList,
    RankWork,
    Span,
    TextChunk,
)
from neo_runtime.engine.ask import answer
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.sid.codebook import Codebook
from neo_runtime.types import ItemKey

BEAMS = 30
DESCRIBED = 150

CARD = """# {name}

{note}

- Qwen3 architecture, {parameters:,} parameters, {text_tokens:,} text tokens, {codes} codes for {types}; in bfloat16.
- Trained from nothing by `make demo-model`: {steps:,} steps of about 1,500 tokens, {minutes:.0f} minutes.
- Data: the demo catalog (CC0, written by the project) and simulated users (`neo_runtime/demo/taste.py`). No real user.

Measured by the build on {users} simulated users that were not trained on, 30 beams, full ranking, history left out:

| what | result |
|---|---|
{rows}

Expect wrong facts in longer texts: a million parameters remember {items:,} items only roughly.
"""


class Asker:
    """Answers of one engine, one at a time."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def rank(self, item_type: str, history: History = (), query: str = "") -> list[Ranked]:
        prompt = TaskPrompt(Task.RETRIEVE, item_type, (query,)) if query else TaskPrompt(Task.RECOMMEND, item_type)
        (event,) = answer(self._engine, RankWork(prompt, history, _only(item_type), BEAMS))
        assert isinstance(event, RankedList)
        return list(event.ranked)

    def describe(self, key: ItemKey) -> str:
        events = answer(self._engine, GenerateWork(TaskPrompt(Task.UNDERSTAND, "", (key,))))
        return "".join(event.text for event in events if isinstance(event, TextChunk))

    def explain(self, item_type: str, history: History) -> tuple[list[ItemKey], str]:
        """The items of the answer, and its text."""
        work = GenerateWork(TaskPrompt(Task.EXPLAIN, item_type), history, _only(item_type))
        events = answer(self._engine, work)
        keys = [
            ItemKey(event.ranked[0].item_type, event.ranked[0].item_ids[0])
            for event in events
            if isinstance(event, Span)
        ]
        return keys, "".join(event.text for event in events if isinstance(event, TextChunk))


def write_card(
    folder: Path, catalog: Catalog, items: Sequence[DemoItem], users: Sequence[History], steps: int, seconds: float
) -> None:
    """Load the saved model as a user would, measure it, write `folder`/README.md."""
    model = NeoModel.load(folder)
    with _asking(model, catalog) as asker:
        rows = [
            *_recommendation(asker, items, users),
            *_search(asker, items),
            *_texts(asker, items, users),
        ]
    text = CARD.format(
        name=model.name, note=model.note, parameters=sum(p.numel() for p in model.lm.parameters()),
        text_tokens=model.vocabulary.text_size, codes=model.vocabulary.size - model.vocabulary.text_size - 2,
        types=", ".join(f"{name} {_levels(book)}" for name, book in model.codebooks.items()),
        steps=steps, minutes=seconds / 60, users=len(users), items=len(items),
        rows="\n".join(f"| {what} | {result} |" for what, result in rows),
    )  # fmt: skip
    (folder / "README.md").write_text(text)


def _levels(codebook: Codebook) -> str:
    return "×".join(map(str, codebook.space.level_sizes))


@contextmanager
def _asking(model: NeoModel, catalog: Catalog) -> Iterator[Asker]:
    engine = LocalEngine(Decoder(model, catalog.reader, EngineLimits(model.context_tokens, 64, 200, 16)))
    try:
        yield Asker(engine)
    finally:
        engine.stop()


def _recommendation(asker: Asker, items: Sequence[DemoItem], users: Sequence[History]) -> Iterator[tuple[str, str]]:
    """HR@10 of the last item of every user, against the most popular items of its type."""
    popular = sorted(items, key=lambda item: -item.popularity)
    for kind in sorted({item.key.type for item in items}):
        mine = [user for user in users if user[-1].type == kind]
        hits, baseline = 0, 0
        for user in mine:
            found = [row.item_ids[0] for row in asker.rank(kind, user[-9:-1])]
            hits += user[-1].id in found[:10]
            known = [item.key for item in popular if item.key.type == kind and item.key not in user[:-1]]
            baseline += user[-1] in known[:10]
        figures = f"{hits / len(mine):.3f}, popularity {baseline / len(mine):.3f} ({len(mine)} users)"
        yield f"next {kind}, HR@10", figures


def _search(asker: Asker, items: Sequence[DemoItem]) -> Iterator[tuple[str, str]]:
    by_key = {item.key: item for item in items}
    for kind in sorted({item.key.type for item in items}):
        of_kind = [item for item in items if item.key.type == kind]
        themes = sorted(
            {t for item in of_kind for t in item.themes if sum(t in other.themes for other in of_kind) >= 8}
        )
        fits = [
            theme in by_key[ItemKey(kind, row.item_ids[0])].themes
            for theme in themes
            for row in asker.rank(kind, query=theme)[:5]
        ]
        titles = [
            item.key.id in [r.item_ids[0] for r in asker.rank(kind, query=item.title)[:5]] for item in of_kind[::4]
        ]
        yield f"search {kind} by one of {len(themes)} themes: top 5 that have it", f"{np.mean(fits):.2f}"
        yield f"search {kind} by its title: in the top 5", f"{np.mean(titles):.2f}"


def _texts(asker: Asker, items: Sequence[DemoItem], users: Sequence[History]) -> Iterator[tuple[str, str]]:
    some = items[:: len(items) // DESCRIBED]
    told = [(asker.describe(item.key), item) for item in some]
    yield "describe an item: its title right", f"{np.mean([text.startswith(item.title) for text, item in told]):.2f}"
    yield "describe an item: every word right", f"{np.mean([text == describe(item) for text, item in told]):.2f}"
    by_key = {item.key: item for item in items}
    right: list[bool] = []
    for user in users[:DESCRIBED]:
        keys, text = asker.explain(user[-1].type, user[-7:-1])
        reason = text.rpartition("You like ")[2].rstrip(".")
        common = shared([by_key[key] for key in user[-7:-1]], by_key[keys[0]]) if keys else []
        right.append(bool(reason) and all(word in common for word in re.split(", | and ", reason)))
    yield "recommend and say why: all that is named is in the item and in the history", f"{np.mean(right):.2f}"


def _only(item_type: str) -> Constraints:
    return Constraints((item_type,))
