"""The collaborative half of an item's vector: measured where users know it, predicted from text where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neo_runtime.data.ragged import Ragged
from neo_runtime.embed.base import of_type, unit_rows
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import load_embedder, load_folder
from neo_runtime.embed.mixed import MixedEmbedder, fit_ridge, joined
from neo_runtime.errors import ModelError
from neo_runtime.training.collaborative import collaborative_vectors

WORDS = ("ships", "war", "love", "magic")
TEXTS = [f"A story of {WORDS[n % 4]} and number {n}" for n in range(80)]


def mixed(weight: float = 1.0) -> MixedEmbedder:
    base = LexicalEmbedder.fit(TEXTS, dimension=16)
    random = np.random.default_rng(0)
    directions = unit_rows(random.normal(size=(4, 6)).astype(np.float32))
    tastes = directions[np.arange(80) % 4]
    known = np.arange(80) < 60
    ridges = {"film": fit_ridge(base.embed(TEXTS), tastes, known, strength=0.1)}
    return MixedEmbedder(base, "", ridges, weight)


def test_items_that_meet_in_histories_are_near() -> None:
    random = np.random.default_rng(0)
    rows = Ragged.of([(2 * random.integers(0, 20, 6) + user % 2).tolist() for user in range(400)])
    vectors, known = collaborative_vectors(rows, 45, dimension=8)
    assert known.tolist() == [True] * 40 + [False] * 5
    likeness = vectors[:40] @ vectors[:40].T
    same = np.arange(40)[:, None] % 2 == np.arange(40) % 2
    assert likeness[same].mean() > likeness[~same].mean() + 0.3
    assert np.allclose(np.linalg.norm(vectors[:40], axis=1), 1, atol=1e-5)


def test_nobody_knows_anything() -> None:
    vectors, known = collaborative_vectors(Ragged.of([[0], [1]]), 3, dimension=4)
    assert not known.any()
    assert vectors.shape == (3, 4)


def test_a_new_item_goes_where_items_of_its_words_are() -> None:
    embedder = of_type(mixed(), "film")
    taste = embedder.embed(["A new story of war", "Another story of war", "A new story of love"])[:, 16:]
    assert taste[0] @ taste[1] > taste[0] @ taste[2] + 0.2


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_vectors_are_unit_and_the_halves_weigh_what_they_should(weight: float) -> None:
    vectors = of_type(mixed(weight), "film").embed(TEXTS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    halves = (vectors[:, :16] ** 2).sum(1), (vectors[:, 16:] ** 2).sum(1)
    assert np.allclose(halves[1] / halves[0], weight, rtol=1e-4)


def test_of_an_unknown_type_only_the_text_counts() -> None:
    embedder = mixed()
    vectors = of_type(embedder, "podcast").embed(TEXTS[:2])
    assert not vectors[:, 16:].any()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_loading_gives_the_saved_embedder(tmp_path: Path) -> None:
    embedder = mixed()
    embedder.save(tmp_path)
    for loaded in (load_folder(tmp_path), load_embedder(f"mixed:{tmp_path}")):
        assert loaded.name == embedder.name
        assert np.array_equal(of_type(loaded, "film").embed(TEXTS), of_type(embedder, "film").embed(TEXTS))


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    mixed().save(tmp_path)
    file = tmp_path / "mixed.json"
    file.write_text(file.read_text().replace('"weight": 1.0', '"weight": 2.0'))
    with pytest.raises(ModelError, match="was written as"):
        load_folder(tmp_path)
    file.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_folder(tmp_path)


def test_joined_rows_are_unit() -> None:
    one = unit_rows(np.ones((2, 3), np.float32))
    assert np.allclose(np.linalg.norm(joined(one, one, 2.0), axis=1), 1)
