"""Every searcher on every type's queries, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.queries import evaluation_queries
from neo_runtime.errors import NotFoundError
from neo_runtime.evaluation.embeddings import ItemVectors
from neo_runtime.evaluation.metrics import means
from neo_runtime.evaluation.results import Key, Results, Run
from neo_runtime.evaluation.run import Progress
from neo_runtime.evaluation.search import Bm25, Dense, FusedSearcher, Searcher, beginnings, kinds, search_hits

SEARCH = "search"

MakeSearcher = Callable[[ItemVectors, str], Searcher]
"""From the embeddings, and the type that is searched."""


def _dense(vectors: ItemVectors, item_type: str) -> Searcher:
    return Dense(lambda: vectors.of(item_type), lambda: vectors.embedder)


SEARCHERS: Mapping[str, MakeSearcher] = {"bm25": lambda *_: Bm25(), "dense": _dense}


def evaluate_search(
    dataset: Dataset,
    types: Sequence[str],
    searchers: Sequence[str],
    results: Results,
    vectors: ItemVectors,
    progress: Progress = lambda *_: None,
    *,
    known: Mapping[str, MakeSearcher] = SEARCHERS,
    again: bool = False,
) -> None:
    """Fill `results`. NotFoundError for a searcher that nobody knows."""
    for name in searchers:
        if not set(name.split("+", 1)) <= set(known):
            raise NotFoundError("searcher", f"{name} (known: {', '.join(known)}, and two of them joined by +)")
    keys = [Key(SEARCH, item_type, name) for item_type in types for name in searchers]
    keys = [key for key in keys if again or not results.has(key)]
    for done, key in enumerate(keys):
        progress(done, len(keys), key.words)
        queries = evaluation_queries(dataset, key.item_type)
        if not queries:
            continue
        made = [known[name](vectors, key.item_type) for name in key.model.split("+", 1)]
        searcher = FusedSearcher(made[0], made[1], dataset, key.item_type) if len(made) > 1 else made[0]
        started = time.perf_counter()
        searcher.fit(dataset.texts(key.item_type))
        fitted = time.perf_counter()
        hits = search_hits(searcher, dataset, key.item_type, queries)
        ended = time.perf_counter()
        groups = {
            kind: {"questions": float(len(places)), **means(hits.take(places))}
            for kind, places in kinds(queries).items()
        }
        for step, begun in enumerate(beginnings(queries), start=1):
            early = search_hits(searcher, dataset, key.item_type, begun)
            groups[f"after step {step}"] = {"questions": float(len(begun)), **means(early)}
        run = Run(
            key, len(queries), len(made) > 1, means(hits), groups, fitted - started, ended - fitted,
            getattr(searcher, "constants", ""),
        )  # fmt: skip
        results.add(run, hits)
    progress(len(keys), len(keys), "")
