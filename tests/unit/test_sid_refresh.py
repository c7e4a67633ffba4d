"""Refitted codebooks, and how many items keep their codes."""

from __future__ import annotations

import numpy as np
import pytest

from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.refresh import kept, matched

SIZES = (12, 6)


def vectors(count: int = 1_500) -> np.ndarray:
    """Clusters within clusters."""
    random = np.random.default_rng(0)
    coarse, fine = random.normal(size=(12, 8)) * 4, random.normal(size=(6, 8))
    return (
        coarse[random.integers(12, size=count)]
        + fine[random.integers(6, size=count)]
        + random.normal(size=(count, 8)) * 0.2
    ).astype(np.float32)


def fitted(rows: np.ndarray, **options: object) -> Codebook:
    return fit_codebook("film", "test", rows, SIZES, **options)  # type: ignore[arg-type]


def test_renaming_undoes_another_order_of_codes() -> None:
    rows = vectors()
    book = fitted(rows)
    old = book.encode(rows)[0]
    random = np.random.default_rng(1)
    orders = [random.permutation(size) for size in SIZES]
    shuffled = Codebook(
        "film", "test", tuple(level[order] for level, order in zip(book.centroids, orders, strict=True))
    )
    new = shuffled.encode(rows)[0]
    assert kept(old, new).tuple < 0.3
    again = matched(old, new, shuffled)
    assert kept(old, again.encode(rows)[0]).tuple == 1.0
    assert again.fingerprint == book.fingerprint


def test_renaming_and_starting_from_the_old_centroids_keep_more_items() -> None:
    rows = vectors()
    old_book = fitted(rows[:1_000])
    old = old_book.encode(rows)[0]
    anew = fitted(rows, seed=9)
    renamed = matched(old, anew.encode(rows)[0], anew)
    moved = fitted(rows, start=old_book)
    shares = [kept(old, book.encode(rows)[0]).tuple for book in (anew, renamed, moved)]
    assert shares[0] < 0.2
    assert shares[1] > shares[0] + 0.1
    assert shares[2] > shares[1] + 0.3


def test_renaming_changes_no_cluster() -> None:
    rows = vectors()
    anew = fitted(rows, seed=9)
    old, new = fitted(rows).encode(rows)[0], anew.encode(rows)
    renamed = matched(old, new[0], anew).encode(rows)
    assert np.allclose(renamed[1], new[1])
    assert len(np.unique(renamed[0], axis=0)) == len(np.unique(new[0], axis=0))


def test_codes_of_other_levels_are_refused() -> None:
    book = fitted(vectors())
    codes = np.zeros((3, 3), np.uint16)
    with pytest.raises(ValueError, match="not of 2 levels"):
        matched(codes, codes, book)
