"""What residual k-means is compared with: hyperplanes, one codebook for all types, tuples given out at random."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.data.dataset import Dataset, read_dataset
from neo_runtime.data.split import Fit, Order
from neo_runtime.errors import StartupError
from neo_runtime.sid.codebook import Floats, load_codebooks
from neo_runtime.sid.lsh import lsh_codebook
from neo_runtime.training.recipe import SidsRecipe, checked_recipe
from neo_runtime.training.sids import EMBEDDINGS_FILE, assigned_sids, fit_sids, items_by_key
from tests.kit.shop import write_shop


def vectors(count: int, dimension: int = 12) -> Floats:
    """Far from the origin, as texts' embeddings are."""
    return np.random.default_rng(3).normal(0.7, 1.0, (count, dimension)).astype(np.float32)


def test_a_hashed_code_is_the_sides_of_hyperplanes_on_which_a_vector_lies() -> None:
    data = vectors(2_000)
    book = lsh_codebook("film", "e", data, (16, 4), seed=1)
    codes, _ = book.encode(data)
    assert book.space.level_sizes == (16, 4)
    # Opposite corners of a level differ in every bit; their difference along one axis is that bit's normal.
    first, second = book.centroids
    for bit in range(4):
        normal, side = first[1 << bit] - first[0], codes[:, 0] >> bit & 1
        assert ((data - data.mean(0)) @ normal > 0).astype(int).tolist() == side.tolist()
    for bit in range(2):
        normal, side = second[1 << bit] - second[0], codes[:, 1] >> bit & 1
        assert ((data - data.mean(0)) @ normal > 0).astype(int).tolist() == side.tolist()
    assert len(np.unique(book.space.pack(codes))) == 64, "planes through the mean leave no corner empty"


def test_sizes_that_hyperplanes_cannot_give_are_named() -> None:
    for sizes in ((12, 4), (4096, 16)):
        with pytest.raises(ValueError, match="powers of two"):
            lsh_codebook("film", "e", vectors(50), sizes)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = write_shop(tmp_path_factory.mktemp("shop"))
    return folder, read_dataset(folder)


def fitted(dataset: Dataset, out: Path, **changes: object) -> Path:
    recipe = SidsRecipe.model_validate({"levels": [8, 8], "collaborative": 1.0, "collaborative_dimension": 8} | changes)
    fit_sids(dataset, recipe, out, order=Order.SHUFFLED, fit=Fit.T)
    return out


def test_shuffled_items_get_the_tuples_of_others(shop: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, dataset = shop
    plain, shuffled = (fitted(dataset, tmp_path / name, method=name) for name in ("kmeans", "shuffled"))
    books = load_codebooks(plain / "codebooks")
    assert {n: b.fingerprint for n, b in books.items()} == {
        n: b.fingerprint for n, b in load_codebooks(shuffled / "codebooks").items()
    }
    of_items = [np.load(place / EMBEDDINGS_FILE) for place in (plain, shuffled)]
    film = np.arange(0, len(of_items[0]), 2)  # lines take turns
    tuples = [books["film"].encode(found[film])[0].tolist() for found in of_items]
    assert Counter(map(tuple, tuples[0])) == Counter(map(tuple, tuples[1]))
    assert sum(ours == theirs for ours, theirs in zip(*tuples, strict=True)) < len(film) / 4
    assert assigned_sids(folder, shuffled, list(items_by_key(dataset))).refused == 0


def test_a_shared_codebook_has_the_same_centroids_for_every_type(
    shop: tuple[Path, Dataset], tmp_path: Path
) -> None:  # fmt: skip
    folder, dataset = shop
    film, book = (
        load_codebooks(fitted(dataset, tmp_path, method="shared") / "codebooks")[name] for name in ("film", "book")
    )
    assert all((ours == theirs).all() for ours, theirs in zip(film.centroids, book.centroids, strict=True))
    assert assigned_sids(folder, tmp_path, list(items_by_key(dataset))).refused == 0


def test_a_shared_codebook_has_one_size() -> None:
    with pytest.raises(StartupError, match="levels_of: types that share one codebook"):
        checked_recipe({"data": "d", "out": "o", "sids": {"method": "shared", "levels_of": {"film": [4, 4]}}}, "file")


def test_sizes_that_do_not_fit_the_items_end_the_stage(shop: tuple[Path, Dataset], tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot fill"):
        fitted(shop[1], tmp_path, levels=[64, 8])
    with pytest.raises(StartupError, match="powers of two"):
        fitted(shop[1], tmp_path, levels=[6, 8], method="lsh")
