"""Searchers: items for words. BM25 and dense retrieval are what a generative one is to be judged against."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.line import Query
from neo_runtime.data.queries import choosing_queries
from neo_runtime.data.ragged import Ragged
from neo_runtime.embed.base import Embedder, Vectors
from neo_runtime.embed.words import words
from neo_runtime.evaluation.fused import POOL, best_fusion, fuse
from neo_runtime.evaluation.metrics import DEEPEST, Hits, several_hits
from neo_runtime.evaluation.ranker import NONE, Ranked, top

_BATCH = 256


class Searcher(Protocol):
    """Items of one type, ranked for words."""

    def fit(self, texts: Sequence[str]) -> None:
        """The texts of all items, in the dataset's order."""

    def search(self, queries: Sequence[Query], k: int = DEEPEST) -> Ranked:
        """For each query, `k` items."""


class Bm25:
    """Words of title, attributes and description; steps of a query are one bag of words."""

    def fit(self, texts: Sequence[str]) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of each step
        self._index = bm25s.BM25()
        self._index.index([words(text) for text in texts], show_progress=False)
        self._known = set(self._index.vocab_dict)
        self._items = len(texts)

    def search(self, queries: Sequence[Query], k: int = DEEPEST) -> Ranked:
        scores = np.zeros((len(queries), self._items), np.float32)
        for row, query in enumerate(queries):
            asked = [word for word in words(query.text) if word in self._known]
            if asked:
                scores[row] = self._index.get_scores(asked)
        scores[scores <= 0] = -np.inf
        return top(scores, k)


class Dense:
    """Cosine of embeddings, that of a query's steps joined."""

    def __init__(self, vectors: Callable[[], Vectors], embedder: Callable[[], Embedder]) -> None:
        self._source, self._embedder = vectors, embedder

    def fit(self, texts: Sequence[str]) -> None:
        self._vectors = self._source()

    def search(self, queries: Sequence[Query], k: int = DEEPEST) -> Ranked:
        asked = self._embedder().embed([query.text for query in queries])
        return top(np.asarray(asked @ self._vectors.T, np.float32), k)


class FusedSearcher:
    """Two lists as one. Scale and weight are chosen on queries for other items than those that are evaluated."""

    def __init__(self, first: Searcher, second: Searcher, dataset: Dataset, item_type: str) -> None:
        self._first, self._second = first, second
        self._dataset, self._item_type = dataset, item_type

    @property
    def constants(self) -> str:
        return self._fusion.words

    def fit(self, texts: Sequence[str]) -> None:
        self._first.fit(texts)
        self._second.fit(texts)
        queries = choosing_queries(self._dataset, self._item_type)
        meant = targets_of(self._dataset, self._item_type, queries)
        lists = [batched(one, queries, POOL) for one in (self._first, self._second)]
        self._fusion = best_fusion(lists[0], lists[1], lambda items: several_hits(items, meant))

    def search(self, queries: Sequence[Query], k: int = DEEPEST) -> Ranked:
        pool = max(k, POOL)
        return fuse(self._first.search(queries, pool), self._second.search(queries, pool), *self._fusion, k)


def search_hits(searcher: Searcher, dataset: Dataset, item_type: str, queries: Sequence[Query]) -> Hits:
    """Whether the lists hold what was meant."""
    return several_hits(batched(searcher, queries, DEEPEST).items, targets_of(dataset, item_type, queries))


def batched(searcher: Searcher, queries: Sequence[Query], k: int) -> Ranked:
    """All at once would be queries × items scores."""
    lists = [searcher.search(queries[first : first + _BATCH], k) for first in range(0, len(queries), _BATCH)]
    if not lists:
        return Ranked(np.full((0, k), NONE, np.int32), np.full((0, k), -np.inf, np.float32))
    return Ranked(*(np.concatenate(column) for column in zip(*lists, strict=True)))


def targets_of(dataset: Dataset, item_type: str, queries: Sequence[Query]) -> Ragged:
    """Rows of the items that each query means."""
    rows = {item.key: row for row, item in enumerate(dataset.items[item_type])}
    return Ragged.of([[rows[key] for key in query.items] for query in queries])


def kinds(queries: Sequence[Query]) -> dict[str, np.ndarray]:
    """Places of each kind's queries."""
    return {
        kind: np.array([place for place, _ in group])
        for kind, group in groupby(enumerate(queries), key=lambda entry: entry[1].kind)
    }


def beginnings(queries: Sequence[Query]) -> list[list[Query]]:
    """Of queries in several steps, what had been said after the first, the second and so on, but for the last."""
    most = max((len(query.steps) for query in queries), default=0)
    return [
        [Query(query.steps[:step], query.items, query.kind) for query in queries if len(query.steps) > step]
        for step in range(1, most)
    ]
