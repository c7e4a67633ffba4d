"""Queries that are made from items, and the searchers that answer them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neo_runtime.data.dataset import Dataset, read_dataset
from neo_runtime.data.line import Query
from neo_runtime.data.queries import (
    ITEMS_ASKED,
    KINDS,
    build_queries,
    choosing_queries,
    evaluation_queries,
    held_out_items,
)
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.words import words
from neo_runtime.evaluation.fused import Scale, fuse
from neo_runtime.evaluation.metrics import means
from neo_runtime.evaluation.ranker import NONE, Ranked
from neo_runtime.evaluation.search import Bm25, Dense, FusedSearcher, beginnings, kinds, search_hits
from neo_runtime.ingest.bulk import read_upserts
from neo_runtime.types import ItemKey
from tests.kit.interactions import write_folder

DEMO = Path(__file__).parents[2] / "neo_runtime" / "demo" / "catalog"


@pytest.fixture(scope="module")
def demo() -> Dataset:
    """The demo's films, with nobody's interactions."""
    films = [item for item in read_upserts(sorted(DEMO.glob("film*"))) if item.key.type == "film"]
    return Dataset([], {"film": films}, {}, [], 0)


def test_queries_are_the_items_own_words_and_the_same_each_time(demo: Dataset) -> None:
    items = demo.items["film"][:50]
    queries = list(build_queries(items, seed=1))
    assert queries == list(build_queries(items, seed=1))
    assert queries != list(build_queries(items, seed=2))
    assert queries[-6:] == list(build_queries(items[-1:], seed=1))[-6:], "an item's queries do not hang on the others"
    texts = {item.key: set(words(text)) for item, text in zip(items, demo.texts("film")[:50], strict=True)}
    for query in queries:
        if query.kind != "partial":
            assert set(words(query.text)) <= texts[query.items[0]], query
    assert {query.kind for query in queries} == set(KINDS)
    assert all(len(query.steps) > 1 for query in queries if query.kind == "refined")


def test_items_that_evaluation_asks_for_are_fixed(demo: Dataset) -> None:
    first, second = (held_out_items(demo.items["film"], 30) for _ in range(2))
    assert [item.key for item in first] == [item.key for item in second]
    assert len({item.key for item in first}) == 30


def test_searchers_find_what_was_meant(demo: Dataset) -> None:
    queries = evaluation_queries(demo, "film")
    embedder = LexicalEmbedder.fit(demo.texts("film"))
    dense = Dense(lambda: embedder.embed(demo.texts("film")), lambda: embedder)
    for searcher, least in ((Bm25(), 0.7), (dense, 0.4)):
        searcher.fit(demo.texts("film"))
        assert means(search_hits(searcher, demo, "film", queries))["HR@10"] > least
    groups = kinds(queries)
    assert sum(map(len, groups.values())) == len(queries)
    assert np.all(np.sort(np.concatenate(list(groups.values()))) == np.arange(len(queries)))


def test_two_searchers_fused_are_at_least_the_better_one_and_say_how_they_were_weighed(demo: Dataset) -> None:
    queries = evaluation_queries(demo, "film")
    embedder = LexicalEmbedder.fit(demo.texts("film"))
    dense = Dense(lambda: embedder.embed(demo.texts("film")), lambda: embedder)
    fused = FusedSearcher(Bm25(), dense, demo, "film")
    found = {}
    for name, searcher in (("bm25", Bm25()), ("dense", dense), ("fused", fused)):
        searcher.fit(demo.texts("film"))
        found[name] = means(search_hits(searcher, demo, "film", queries))["NDCG@10"]
    assert found["fused"] >= max(found["bm25"], found["dense"]) - 0.005
    assert "second weighs" in fused.constants


def test_a_list_of_one_item_stays_ahead_of_what_a_list_without_weight_holds() -> None:
    short = Ranked(np.array([[7, NONE, NONE]], np.int32), np.array([[3.0, -np.inf, -np.inf]], np.float32))
    other = Ranked(np.array([[5, 2, 9]], np.int32), np.array([[0.9, 0.8, 0.1]], np.float32))
    for scale in Scale:
        assert fuse(short, other, scale, 0.0, 4).items[0, 0] == 7


def test_weights_are_chosen_on_queries_for_other_items_than_are_evaluated() -> None:
    items = list(read_upserts(sorted(DEMO.glob("*.jsonl"))))
    assert len(items) > ITEMS_ASKED
    many = Dataset([], {"film": items}, {}, [], 0)
    asked, chosen = (
        {query.items[0] for query in make(many, "film")} for make in (evaluation_queries, choosing_queries)
    )
    assert len(chosen) > 100
    assert not asked & chosen


def test_a_query_in_steps_is_also_asked_as_far_as_it_had_come() -> None:
    item = ItemKey("film", "x")
    queries = [Query(("a", "b", "c"), (item,)), Query(("d",), (item,)), Query(("e", "f"), (item,))]
    assert [[query.steps for query in step] for step in beginnings(queries)] == [[("a",), ("e",)], [("a", "b")]]


def test_unknown_words_find_nothing(demo: Dataset) -> None:
    searcher = Bm25()
    searcher.fit(demo.texts("film"))
    found = searcher.search([Query(("xyzzy plugh",), (ItemKey("film", "x"),))])
    assert set(found.items[0].tolist()) == {-1}


def test_queries_of_the_data_folder_go_first(tmp_path: Path) -> None:
    lines = [{"user": "a", "item": "film/0"}]
    queries = [{"query": "number 2", "items": ["film/2", "film/1"]}]
    dataset = read_dataset(write_folder(tmp_path, {"film": 3, "book": 2}, lines, queries))
    assert [query.text for query in evaluation_queries(dataset, "film")] == ["number 2"]
    assert len(evaluation_queries(dataset, "book")) > 2
    searcher = Bm25()
    searcher.fit(dataset.texts("film"))
    assert means(search_hits(searcher, dataset, "film", dataset.queries))["HR@5"] == 1.0
