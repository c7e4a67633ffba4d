"""Searchers: items for words. BM25 and dense retrieval are what a generative one is to be judged against."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.line import Query
from neo_runtime.data.ragged import Ragged
from neo_runtime.embed.base import Embedder, Vectors
from neo_runtime.embed.words import words
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


def search_hits(searcher: Searcher, dataset: Dataset, item_type: str, queries: Sequence[Query]) -> Hits:
    """Whether the lists hold what was meant."""
    rows = {item.key: row for row, item in enumerate(dataset.items[item_type])}
    lists = [searcher.search(queries[first : first + _BATCH]).items for first in range(0, len(queries), _BATCH)]
    targets = Ragged.of([[rows[key] for key in query.items] for query in queries])
    return several_hits(np.concatenate(lists) if lists else np.full((0, DEEPEST), NONE, np.int32), targets)


def kinds(queries: Sequence[Query]) -> dict[str, np.ndarray]:
    """Places of each kind's queries."""
    return {
        kind: np.array([place for place, _ in group])
        for kind, group in groupby(enumerate(queries), key=lambda entry: entry[1].kind)
    }
