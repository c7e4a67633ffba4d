"""Code spaces, codebooks, and what happens when items quantize alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.errors import EventError, StartupError
from neo_runtime.sid.assign import nearest_free
from neo_runtime.sid.codebook import Codebook, load_codebooks
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.space import SidSpace


@st.composite
def spaces_with_codes(draw: st.DrawFn) -> tuple[SidSpace, list[tuple[int, ...]]]:
    sizes = draw(st.lists(st.integers(2, 1_024), min_size=1, max_size=6))
    rows = draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), max_size=20))
    return SidSpace(tuple(sizes)), rows


@given(spaces_with_codes())
def test_packing_is_reversible_and_keeps_the_order(case: tuple[SidSpace, list[tuple[int, ...]]]) -> None:
    space, rows = case
    keys = space.pack(np.array(rows, np.uint16).reshape(len(rows), space.levels))
    assert [tuple(row) for row in space.unpack(keys).tolist()] == rows
    assert keys.tolist() == [space.pack_one(row) for row in rows]
    assert [space.unpack_one(int(key)) for key in keys] == rows
    assert [rows[i] for i in np.argsort(keys, kind="stable")] == sorted(rows)


@given(spaces_with_codes(), st.data())
def test_a_prefix_is_packed_as_the_least_tuple_that_begins_with_it(
    case: tuple[SidSpace, list[tuple[int, ...]]], data: st.DataObject
) -> None:
    space, rows = case
    depth = data.draw(st.integers(0, space.levels))
    prefixes = np.array([row[:depth] for row in rows], np.uint16).reshape(len(rows), depth)
    least = [space.pack_one((*row[:depth], *(0,) * (space.levels - depth))) for row in rows]
    assert space.pack(prefixes).tolist() == least


@pytest.mark.parametrize("sizes", [(), (1,), (70_000,), (65_536,) * 5])
def test_spaces_that_cannot_be_packed_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="level"):
        SidSpace(sizes)


def vectors(rows: int, seed: int = 0, dimension: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def brute_force(codebook: Codebook, vector: np.ndarray) -> tuple[int, ...]:
    """The definition: nearest centroid of what is left, level by level."""
    codes, residual = [], vector.astype(np.float64)
    for level in codebook.centroids:
        code = int(np.argmin(((residual - level) ** 2).sum(1)))
        codes.append(code)
        residual = residual - level[code]
    return tuple(codes)


def test_encoding_is_residual_nearest_centroid_and_errors_fall_with_levels() -> None:
    data = vectors(400)
    codebook = fit_codebook("film", "e", data, (16, 8, 8))
    codes, errors = codebook.encode(data)
    assert [tuple(row) for row in codes.tolist()] == [brute_force(codebook, row) for row in data]
    shallow = Codebook("film", "e", codebook.centroids[:1])
    assert errors.mean() < shallow.encode(data)[1].mean() < (data**2).sum(1).mean()
    assert len(np.unique(codes[:, 0])) == 16


def test_fitting_twice_gives_the_same_fingerprint_and_another_seed_another() -> None:
    data = vectors(200)
    first, again, other = (fit_codebook("film", "e", data, (8, 8), seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert Codebook("book", "e", first.centroids).fingerprint != first.fingerprint


def test_too_few_items_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 items cannot fill 8 codes"):
        fit_codebook("film", "e", vectors(5), (8, 8))


def test_a_codebook_survives_saving_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    codebook = fit_codebook("film", "e", vectors(100), (8, 8))
    codebook.save(tmp_path)
    assert load_codebooks(tmp_path)["film"].fingerprint == codebook.fingerprint
    header = json.loads((tmp_path / "film.json").read_text())
    (tmp_path / "film.json").write_text(json.dumps({**header, "embedder": "another"}))
    with pytest.raises(StartupError, match="fingerprint"):
        Codebook.load(tmp_path / "film.json")
    (tmp_path / "film.safetensors").write_bytes(b"broken")
    with pytest.raises(StartupError, match="cannot be read"):
        Codebook.load(tmp_path / "film.json")
    with pytest.raises(StartupError, match="no codebooks"):
        load_codebooks(tmp_path / "nowhere")


def test_nearest_free_moves_the_last_code_first_and_takes_the_nearest() -> None:
    codebook = fit_codebook("film", "e", vectors(100), (4, 4))
    vector = vectors(1, seed=5)[0]
    order = [codebook.space.pack_one(codes) for codes in codebook.nearest_tuples(vector)]
    assert len(order) == len(set(order)) == 16, "every tuple once"
    assert codebook.space.unpack_one(order[0]) == brute_force(codebook, vector)
    first = codebook.space.unpack_one(order[0])[0]
    assert [codebook.space.unpack_one(key)[0] for key in order[:4]] == [first] * 4
    residual = vector - codebook.centroids[0][first]
    distances = [((residual - codebook.centroids[1][codebook.space.unpack_one(k)[1]]) ** 2).sum() for k in order[:4]]
    assert distances == sorted(distances)
    taken = set(order[:6])
    assert nearest_free(codebook, vector, lambda key: key not in taken) == order[6]
    with pytest.raises(EventError) as caught:
        nearest_free(codebook, vector, lambda key: False)
    assert caught.value.reason == "CODEBOOK_FULL"


def test_what_codes_say_of_embeddings_misses_them_by_the_quantization_error() -> None:
    embeddings = np.random.default_rng(3).standard_normal((50, 8)).astype(np.float32)
    codebook = fit_codebook("film", "test", embeddings, (8, 8), seed=0)
    codes, errors = codebook.encode(embeddings)
    assert ((codebook.decode(codes) - embeddings) ** 2).sum(1) == pytest.approx(errors, rel=1e-3)
