"""The demo's catalog and simulated users are what the project says of them."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from neo_runtime.config import DEMO_MODEL
from neo_runtime.demo.build import HELD_OUT_USERS, write_evaluation
from neo_runtime.demo.samples import DemoSamples, describe, shared
from neo_runtime.demo.taste import USER_COUNT, USERS, demo_items, demo_users, item_vectors, simulate, user_lines
from neo_runtime.engine import gate
from neo_runtime.types import ItemKey

ITEMS = demo_items()


def test_three_types_and_well_over_a_thousand_items() -> None:
    counts = Counter(item.key.type for item in ITEMS)
    assert set(counts) == {"film", "book", "artist"}
    assert sum(counts.values()) >= 1_200
    assert min(counts.values()) >= 400
    assert len({item.key for item in ITEMS}) == len(ITEMS)


def test_every_item_is_described_in_a_line_of_its_own() -> None:
    assert len({item.description for item in ITEMS}) == len(ITEMS)
    for item in ITEMS:
        assert 6 <= len(item.description.split()) <= 40, item
        assert item.title not in item.description or item.key.type == "artist" or len(item.title) < 8, item
        assert item.creators
        assert item.genres
        assert 2 <= len(item.themes) <= 6, item
        assert 0 < item.popularity <= 1
        assert 0 < item.year <= datetime.now(UTC).year or item.year < 0, item
        assert re.fullmatch(r"[a-z0-9-]+", item.key.id), item


def test_themes_link_the_types() -> None:
    kinds: dict[str, set[str]] = {}
    for item in ITEMS:
        for theme in item.themes:
            kinds.setdefault(theme, set()).add(item.key.type)
    assert sum(len(found) == 3 for found in kinds.values()) >= 40


def test_the_recorded_evaluation_is_of_users_that_were_not_trained_on(tmp_path: Path) -> None:
    write_evaluation(tmp_path, demo_users()[:HELD_OUT_USERS])
    assert (tmp_path / gate.FILE).read_bytes() == (DEMO_MODEL / gate.FILE).read_bytes()


def test_the_released_users_are_what_the_taste_model_draws() -> None:
    released = gzip.decompress(USERS.read_bytes()).decode().splitlines(keepends=True)
    assert len(released) == USER_COUNT
    assert released[:400] == list(islice(user_lines(ITEMS), 400))


def test_users_are_seeded_and_name_items_of_the_catalog_once() -> None:
    first, again, other = (list(simulate(ITEMS, 5, seed)) for seed in (1, 1, 2))
    assert first == again != other
    known = {item.key for item in ITEMS}
    for history in demo_users():
        assert len(set(history)) == len(history) >= 6
        assert known.issuperset(history)


def test_neighbours_in_a_history_are_more_alike_than_strangers() -> None:
    row = {item.key: place for place, item in enumerate(ITEMS)}
    vectors = item_vectors(ITEMS)
    pairs = [(row[a], row[b]) for history in demo_users()[:300] for a, b in pairwise(history)]
    left, right = np.array(pairs).T
    alike = (vectors[left] * vectors[right]).sum(1).mean()
    strangers = (vectors[left] * vectors[np.random.default_rng(0).permutation(right)]).sum(1).mean()
    assert alike > 2 * strangers


def test_a_reason_in_a_sample_is_true_of_both_items() -> None:
    samples = DemoSamples(ITEMS, demo_users(), seed=3)
    by_key = {item.key: item for item in ITEMS}
    for _ in range(200):
        sample = samples.explain()
        _, target, reason = sample.answer
        assert isinstance(target, ItemKey)
        assert isinstance(reason, str)
        history = [part for part in sample.conversation.turns[0].parts if isinstance(part, ItemKey)]
        common = shared([by_key[key] for key in history], by_key[target])
        assert f"You like {common[0]}" in reason
        for word in common[:2]:
            assert word in by_key[target].themes + by_key[target].genres
            assert any(word in by_key[key].themes + by_key[key].genres for key in history)


def test_what_is_said_of_an_item_holds_its_facts() -> None:
    item = next(item for item in ITEMS if item.key == ItemKey("film", "alien-1979"))
    text = describe(item)
    for fact in (item.title, "1979", "Ridley Scott", "space", item.description):
        assert fact in text
