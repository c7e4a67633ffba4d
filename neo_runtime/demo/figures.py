"""The demo model beside baselines, by `neo_runtime.evaluation`, on simulated users that nobody learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from neo_runtime.data.dataset import Dataset, read_dataset
from neo_runtime.data.line import Query
from neo_runtime.data.queries import evaluation_queries
from neo_runtime.data.split import Part, leave_one_out
from neo_runtime.demo.data import HELD_OUT
from neo_runtime.engine.api import GenerateWork, TextChunk
from neo_runtime.evaluation.answers import check_answers
from neo_runtime.evaluation.metrics import means, single_hits
from neo_runtime.evaluation.models import MODELS, Material, Model
from neo_runtime.evaluation.neo import NeoModels, NeoRanker, NeoSearcher
from neo_runtime.evaluation.results import Check
from neo_runtime.evaluation.search import Bm25, Searcher, kinds, search_hits
from neo_runtime.evaluation.served import ServedModel
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.training.samples.items import shortened
from neo_runtime.training.wording import ABOUT, describe, values

BASELINES = ("popularity", "pctm", "item-knn", "ease")
_FEWEST_OF_A_THEME, _LOOKED_AT, _DESCRIBED_EVERY = 8, 5, 8
Say = Callable[[str], None]


def measure(model: Path, data: Path, say: Say = lambda _: None) -> list[str]:
    """Tables in Markdown. `data`: a folder of `write_data` with held-out users, the catalog its only items."""
    dataset = read_dataset(data)
    with closing(NeoModels([model], data, dataset)) as models:
        known = {name: MODELS[name] for name in BASELINES} | {"neo": Model(lambda m: NeoRanker(models, m.seed))}
        return [
            "Next item, HR@10 over the whole catalog, of simulated users that no model learned from:", "",
            *_table(["type", "users", *known], _next_items(models, known, say)), "",
            "Search, HR@10 of the item that a query was made from, by kind of query:", "",
            *_table(_search_head(dataset), _search(models, say)), "",
            "Search by one theme: share of the first five that have it:", "",
            *_table(["type", "themes", "neo", "bm25"], _themes(models, say)), "",
            "Answers, generated without constraints but the grammar of spans:", "",
            *_table(["what", *sorted(dataset.sequences)], _answers(models, say)), "",
        ]  # fmt: skip


def _table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _next_items(models: NeoModels, known: Mapping[str, Model], say: Say) -> Iterator[list[str]]:
    """Baselines know the earlier items of the held-out users too; the model was shown none of them."""
    dataset, (trained,) = models.dataset, models.trained
    for name, sequences in sorted(dataset.sequences.items()):
        split = leave_one_out(sequences, len(dataset.items[name]), trained.recipe.samples.order)
        cases = split.cases(Part.TEST)
        is_held_out = [dataset.users[user].startswith(HELD_OUT) for user in sequences.users[cases.asked.rows].tolist()]
        cases = cases.take(np.flatnonzero(is_held_out))
        found = []
        for ranker_name, ranker_model in known.items():
            say(f"next {name}: {ranker_name}")
            ranker = ranker_model.make(Material(name, dataset.texts(name), _no_vectors, trained.seed))
            ranker.fit(split, trained.recipe.samples.fit)
            found.append(means(single_hits(ranker.rank(cases.asked).items, cases.targets))["HR@10"])
        yield [name, f"{len(cases.targets):,}", *(f"{share:.3f}" for share in found)]


def _no_vectors() -> np.ndarray:
    raise AssertionError("no baseline here embeds")


def _search_head(dataset: Dataset) -> list[str]:
    return ["type", "searcher", *kinds(evaluation_queries(dataset, next(iter(dataset.items))))]


def _searchers(models: NeoModels, item_type: str) -> dict[str, Searcher]:
    found: dict[str, Searcher] = {"neo": NeoSearcher(models, models.trained[0], item_type), "bm25": Bm25()}
    for searcher in found.values():
        searcher.fit(models.dataset.texts(item_type))
    return found


def _search(models: NeoModels, say: Say) -> Iterator[list[str]]:
    for item_type in sorted(models.dataset.items):
        queries = evaluation_queries(models.dataset, item_type)
        for name, searcher in _searchers(models, item_type).items():
            say(f"search {item_type}: {name}")
            hits = search_hits(searcher, models.dataset, item_type, queries)
            shares = [means(hits.take(places))["HR@10"] for places in kinds(queries).values()]
            yield [item_type, name, *(f"{share:.3f}" for share in shares)]


def _themes(models: NeoModels, say: Say) -> Iterator[list[str]]:
    for item_type, items in sorted(models.dataset.items.items()):
        say(f"search {item_type} by theme")
        having: dict[str, set[int]] = {}
        for row, item in enumerate(items):
            for theme in values(item, ABOUT):
                having.setdefault(theme, set()).add(row)
        themes = sorted(theme for theme, rows in having.items() if len(rows) >= _FEWEST_OF_A_THEME)
        queries = [Query((theme,), (items[0].key,), "theme") for theme in themes]
        shares = []
        for searcher in _searchers(models, item_type).values():
            lists = searcher.search(queries).items[:, :_LOOKED_AT].tolist()
            shares.append(
                np.mean([row in having[theme] for theme, rows in zip(themes, lists, strict=True) for row in rows])
            )
        yield [item_type, str(len(themes)), *(f"{share:.2f}" for share in shares)]


def _answers(models: NeoModels, say: Say) -> Iterator[list[str]]:
    with models.served(models.trained[0]) as served:
        checks = [*check_answers(served, _of_held_out(models.dataset), say), *_described(served, models.dataset)]
    shares: dict[str, list[str]] = {}
    for check in sorted(checks, key=lambda check: check.item_type):
        shares.setdefault(check.name, []).append(f"{check.share:.2f}")
    yield from ([name, *found] for name, found in shares.items())


def _described(served: ServedModel, dataset: Dataset) -> Iterator[Check]:
    for name, items in sorted(dataset.items.items()):
        some = items[::_DESCRIBED_EVERY]
        works = [GenerateWork(TaskPrompt(Task.UNDERSTAND, "", (item.key,))) for item in some]
        texts = [
            "".join(event.text for event in answer if isinstance(event, TextChunk)) if isinstance(answer, list) else ""
            for answer in served.answers(works)
        ]
        told = list(zip(texts, some, strict=True))
        for what, right in (
            ("its title", [text.startswith(item.title) for text, item in told]),
            ("all its themes", [all(theme in text for theme in values(item, ABOUT)) for text, item in told]),
            ("every word", [text == shortened(describe(item)) for text, item in told]),
        ):
            yield Check(name, f"described: {what}", len(some), float(np.mean(right)))


def _of_held_out(dataset: Dataset) -> Dataset:
    """With what they did alone."""
    sequences = {}
    for name, found in dataset.sequences.items():
        rows = np.flatnonzero([dataset.users[user].startswith(HELD_OUT) for user in found.users.tolist()])
        sequences[name] = replace(found, users=found.users[rows], items=found.items.take(rows), days=None, times_s=None)
    return replace(dataset, sequences=sequences)
