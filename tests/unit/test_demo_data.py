"""The demo's catalog and simulated users are what the project says of them."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from neo_runtime.config import DEMO_MODEL
from neo_runtime.data.dataset import read_dataset
from neo_runtime.demo.build import write_evaluation
from neo_runtime.demo.data import HELD_OUT, HELD_OUT_USERS, held_out_users, imagine, write_data
from neo_runtime.demo.taste import USER_COUNT, USERS, demo_items, demo_users, item_vectors, simulate, user_lines
from neo_runtime.engine import gate
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.sids import assigned_sids

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
    write_evaluation(tmp_path, held_out_users(ITEMS))
    assert (tmp_path / gate.FILE).read_bytes() == (DEMO_MODEL / gate.FILE).read_bytes()


def test_who_is_held_out_is_no_user_of_the_released_file() -> None:
    users = held_out_users(ITEMS)
    assert len(users) == HELD_OUT_USERS
    assert not {*users} & {*demo_users()}


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


def test_the_data_folder_holds_catalog_and_users_and_its_shipped_part_stands_first(tmp_path: Path) -> None:
    write_data(tmp_path / "trained")
    write_data(tmp_path / "asked", imagined=0, with_held_out=True)
    trained, asked = read_dataset(tmp_path / "trained"), read_dataset(tmp_path / "asked")
    catalog = {item.key for item in ITEMS}
    assert {item.key for items in asked.items.values() for item in items} == catalog
    for name, items in trained.items.items():
        known = [item.key in catalog for item in items]
        assert known == sorted(known, reverse=True)
        assert sum(known) == len(asked.items[name]) < len(known)
    assert len(trained.users) == USER_COUNT
    assert not any(user.startswith(HELD_OUT) for user in trained.users)
    assert sum(user.startswith(HELD_OUT) for user in asked.users) == HELD_OUT_USERS


def test_what_is_imagined_is_no_item_of_the_catalog_and_the_same_each_time() -> None:
    first, again = (list(imagine(ITEMS, 50)) for _ in range(2))
    assert first == again
    themes = {(item.key.type, theme) for item in ITEMS for theme in item.themes}
    for item in first:
        assert item.key not in {real.key for real in ITEMS}
        assert not item.description, "what is learned by heart is true"
        assert all((item.key.type, theme) in themes for theme in item.themes)
        assert 2 <= len(set(item.themes)) == len(item.themes) <= 4


def test_the_shipped_model_is_small_and_knows_what_it_was_trained_on(tmp_path: Path) -> None:
    assert sum(file.stat().st_size for file in DEMO_MODEL.rglob("*") if file.is_file()) < 15e6
    assert json.loads((DEMO_MODEL / "config.json").read_text())["dtype"] == "bfloat16"
    write_data(tmp_path)
    items = [item for items in read_dataset(tmp_path).items.values() for item in items]
    sids = assigned_sids(tmp_path, DEMO_MODEL, [item.key for item in items]).sids
    assert {name: set(keys.tolist()) for name, keys in NeoModel.load(DEMO_MODEL).learned.items()} == {
        name: {sid for key, sid in sids.items() if key.type == name} for name in ("artist", "book", "film")
    }


def test_the_shipped_model_gives_items_the_ids_that_it_was_trained_with(tmp_path: Path) -> None:
    """Beside the imagined items as without them."""
    write_data(tmp_path / "trained")
    write_data(tmp_path / "asked", imagined=0)
    keys = [item.key for item in ITEMS]
    trained, asked = (assigned_sids(tmp_path / name, DEMO_MODEL, keys) for name in ("trained", "asked"))
    assert trained == asked
    assert (len(asked.sids), asked.refused) == (len(keys), 0)
