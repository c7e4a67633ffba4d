"""The figures of `neo sids report` against their definitions, pair by pair, on catalogs small enough for that."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.report import Quantized, TypeReport, embedded, measure, place, quantize, unseen_error
from neo_runtime.sid.report_cosines import draw_pairs, mean_cosine
from neo_runtime.sid.report_drift import BUCKETS, NEW_ITEMS_MIN, Drift, Verdict, measure_drift
from neo_runtime.sid.report_tables import notes

DIMENSION = 5
DAY_US = 86_400_000_000


def vectors(items: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(items, DIMENSION)).astype(np.float32)


def codebook(sizes: tuple[int, ...] = (4, 3, 2), seed: int = 0) -> Codebook:
    random = np.random.default_rng(seed)
    levels = (random.normal(size=(size, DIMENSION)).astype(np.float32) / (m + 1) for m, size in enumerate(sizes))
    return Codebook("film", "e", tuple(levels))


def report(book: Codebook, data: np.ndarray, **options: object) -> tuple[TypeReport, list[tuple[int, ...]], Quantized]:
    items = quantize(book, data, np.zeros(len(data), np.int64))
    paths = [tuple(codes) for codes in book.encode(data)[0].tolist()]
    return measure("test", book, items, embedded(data.__getitem__), **options), paths, items  # type: ignore[arg-type]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def mean_over_items(data: np.ndarray, together: list[list[int]]) -> float | None:
    """The definition: for each item that is not alone, the mean cosine to the others; then the mean of those."""
    means = [
        np.mean([cosine(data[item], data[other]) for other in group if other != item])
        for group in together
        if len(group) > 1
        for item in group
    ]
    return float(np.mean(means)) if means else None


def groups(keys: list[tuple[int, ...]]) -> list[list[int]]:
    return [[row for row, key in enumerate(keys) if key == wanted] for wanted in dict.fromkeys(keys)]


@given(st.integers(1, 40), st.integers(0, 1_000))
def test_every_figure_equals_its_definition(items: int, seed: int) -> None:
    data, book = vectors(items, seed), codebook(seed=seed)
    found, paths, quantized = report(book, data)
    counts = Counter(paths)
    assert (found.items, found.distinct_paths) == (items, len(counts))
    assert found.colliding_items == sum(n for n in counts.values() if n > 1)
    assert found.most_on_one_path == max(counts.values())
    assert found.relative_error == pytest.approx(quantized.errors.mean() / (data**2).sum(1).mean(), rel=1e-5)
    assert found.random_cosine == pytest.approx(mean_over_items(data, [list(range(items))]), abs=1e-5)
    for level in found.levels:
        codes = Counter(path[level.level - 1] for path in paths)
        prefixes = [path[: level.level] for path in paths]
        shares = [n / items for n in codes.values()]
        assert level.codes == book.space.level_sizes[level.level - 1]
        assert level.used_codes == len(codes)
        assert level.perplexity == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
        assert level.biggest_share == pytest.approx(max(shares))
        assert level.prefixes == len(set(prefixes))
        assert level.items_per_prefix == pytest.approx(items / len(set(prefixes)))
        assert level.cosine == pytest.approx(mean_over_items(data, groups(prefixes)), abs=1e-5)


@given(st.integers(1, 40), st.integers(0, 1_000))
def test_the_rule_is_played_through_as_a_catalog_does_it(items: int, seed: int) -> None:
    data, book = vectors(items, seed), codebook(seed=seed)
    found, paths, quantized = report(book, data)
    sids = place(book, data, quantized.paths)
    placed = [sid for sid in sids if sid is not None]
    assert len(set(placed)) == len(placed) == min(items, found.capacity)
    assert (found.sharing_items, found.refused_items) == (0, max(items - found.capacity, 0))
    own = [book.space.pack_one(path) for path in paths]
    assert found.moved_items == sum(sid not in (None, path) for sid, path in zip(sids, own, strict=True))
    assert bool(found.refused_items) == any("no free semantic ID" in note for note in notes([found]))


def test_items_that_share_a_sid_are_counted_and_nothing_is_moved() -> None:
    book = codebook((2, 2))
    paths = book.space.pack(np.array([[0, 0], [0, 0], [0, 1], [1, 1]]))
    items = Quantized(paths, np.ones(4, np.float32), np.zeros(4, np.int64), paths)
    found = measure("shared", book, items, None)
    assert (found.colliding_items, found.sharing_items, found.moved_items, found.refused_items) == (2, 2, 0, None)


@pytest.mark.parametrize("items", [0, 1])
def test_types_without_items_or_with_one_have_a_report(items: int) -> None:
    found, _, _ = report(codebook(), vectors(items))
    assert (found.items, found.collision_rate, found.random_cosine) == (items, 0.0, None)
    assert [level.used_codes for level in found.levels] == [items] * 3
    assert [level.cosine for level in found.levels] == [None] * 3
    assert notes([found]) == []
    drift = measure_drift(np.arange(items), np.ones(items, np.float32), 9)
    assert drift.verdict is Verdict.ONE_TIME


def test_vectors_without_length_are_at_a_right_angle_to_everything() -> None:
    data = np.array([[1, 0], [0, 0], [1, 0]], np.float32)
    found = mean_cosine(np.zeros(3, np.uint64), data, (data**2).sum(1))
    assert found == pytest.approx(1 / 3)


def test_sampled_cosines_are_near_the_exact_ones_and_look_at_no_more_vectors_than_allowed() -> None:
    data = vectors(6_000)
    book = fit_codebook("film", "e", data, (8, 8))
    exact, _, items = report(book, data)
    looked_at: list[int] = []

    def look(rows: np.ndarray) -> np.ndarray:
        looked_at.extend(rows.tolist())
        return data[rows]

    sampled = measure("test", book, items, embedded(look), sample=3_000)
    assert len(looked_at) == len(set(looked_at)) == sampled.vector_items <= 3_000
    assert sampled.random_cosine == pytest.approx(exact.random_cosine, abs=0.1)
    for a, b in zip(sampled.levels, exact.levels, strict=True):
        assert a.cosine == pytest.approx(b.cosine, abs=0.06)
    assert measure("test", book, items, embedded(data.__getitem__), sample=3_000) == sampled, "the same seed"
    assert "cosines are of" in notes([sampled])[0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 99))
def test_drawn_pairs_are_two_items_of_one_key_and_each_first_comes_once(keys: list[int], pairs: int, seed: int) -> None:
    ordered = np.sort(np.array(keys, np.uint64))
    drawn = draw_pairs(ordered, pairs, np.random.default_rng(seed))
    in_company = sum(n for n in Counter(keys).values() if n > 1)
    assert len(drawn) == len(set(drawn[:, 0].tolist())) == min(pairs, in_company)
    assert all(first != second and ordered[first] == ordered[second] for first, second in drawn.tolist())


def test_every_companion_is_drawn_equally_often() -> None:
    random = np.random.default_rng(0)
    drawn = Counter(tuple(draw_pairs(np.zeros(3, np.uint64), 1, random)[0].tolist()) for _ in range(3_000))
    assert len(drawn) == 6
    assert max(drawn.values()) < 1.3 * min(drawn.values())


def test_items_whose_vectors_are_unknown_are_left_out_of_the_cosines() -> None:
    data, book = vectors(30), codebook()
    known = data.copy()
    known[::3] = np.nan
    _, paths, items = report(book, data)
    found = measure("test", book, items, embedded(known.__getitem__))
    rows = [row for row in range(30) if row % 3]
    assert (found.vectors, found.vector_items) == ("embeddings", 20)
    assert found.random_cosine == pytest.approx(np.mean([cosine(data[a], data[b]) for a, b in combinations(rows, 2)]))
    assert found.levels[0].cosine == pytest.approx(
        mean_over_items(data[rows], groups([paths[row][:1] for row in rows])), abs=1e-5
    )


def test_without_any_vector_cosines_and_error_are_estimated_from_the_codebooks() -> None:
    data = vectors(4_000, 3) + np.float32(0.5)
    book = fit_codebook("film", "e", data, (16, 16))
    exact, _, items = report(book, data)
    nothing = embedded(lambda rows: np.full((len(rows), DIMENSION), np.nan, np.float32))
    for source in (None, nothing):
        found = measure("test", book, items, source)
        assert found.vectors == "codebooks"
        assert found.random_cosine == pytest.approx(exact.random_cosine, abs=0.03)
        assert found.relative_error == pytest.approx(exact.relative_error, rel=0.05)
        assert found.levels[0].cosine == pytest.approx(exact.levels[0].cosine, abs=0.1)
        assert "estimated from the codebooks" in notes([found])[0]


def test_unseen_items_are_the_worse_the_more_codes_there_are_for_few_items() -> None:
    data = vectors(900)
    gaps = []
    for size in (4, 64):
        book = fit_codebook("film", "e", data, (size, size))
        fitted, unseen = float(book.encode(data)[1].mean() / (data**2).sum(1).mean()), unseen_error(book, data)
        assert unseen is not None
        gaps.append(unseen / fitted)
    assert gaps[0] < 1.1 < 1.2 < gaps[1]
    assert unseen_error(fit_codebook("film", "e", vectors(33), (32, 2)), vectors(33)) is None


def drift(new_scale: float, *, old: int = 2_000, new: int = 300, codes: int = 64, **options: int) -> Drift:
    """Errors of which the new ones are `new_scale` times the old ones."""
    random = np.random.default_rng(1)
    errors = random.gamma(4, 0.1, old + new).astype(np.float32)
    errors[old:] *= np.float32(new_scale)
    times = np.arange(old + new, dtype=np.int64) * DAY_US
    order = random.permutation(old + new)
    return measure_drift(times[order], errors[order], codes, **options)


def test_new_items_that_fit_worse_are_told_and_by_how_much() -> None:
    found = drift(1.5, old_until_us=1_999 * DAY_US)
    assert found.verdict is Verdict.WORSE
    assert found.expected_ratio == 1 + 2 * 64 / 2_000
    assert found.worse_by == pytest.approx(1.5 / found.expected_ratio - 1, abs=0.12)
    assert found.words == f"new items fit {found.worse_by:.0%} worse than expected: refit"
    assert found.buckets[-1].ratio == pytest.approx(1.5, abs=0.15)
    assert all(bucket.ratio == pytest.approx(1, abs=0.15) for bucket in found.buckets[:-2])


def test_without_a_time_of_fitting_the_older_half_is_what_new_items_are_held_against() -> None:
    found = drift(1.5)
    assert (found.old_items, found.old_until_us) == (1_150, 1_149 * DAY_US)
    assert found.verdict is Verdict.WORSE


@pytest.mark.parametrize(("scale", "codes"), [(1.0, 64), (0.8, 64), (1.4, 512)])
def test_new_items_fit_where_they_are_no_worse_than_unseen_ones_must_be(scale: float, codes: int) -> None:
    found = drift(scale, codes=codes, old_until_us=1_999 * DAY_US)
    assert found.verdict is Verdict.FITS
    assert found.words == "new items fit as well as old ones"


def test_few_new_items_say_nothing() -> None:
    assert drift(9.0, new=NEW_ITEMS_MIN - 1, old_until_us=1_999 * DAY_US).verdict is Verdict.TOO_FEW
    assert drift(1.0, new=0, old_until_us=1_999 * DAY_US).verdict is Verdict.TOO_FEW
    assert drift(1.0, old_until_us=-1).verdict is Verdict.TOO_FEW, "nothing is old"


def test_items_of_one_time_and_items_without_error_cannot_be_compared() -> None:
    same = measure_drift(np.full(500, 7), vectors(500)[:, 0] ** 2, 8)
    assert (same.verdict, len(same.buckets)) == (Verdict.ONE_TIME, 1)
    exact = measure_drift(np.arange(500), np.zeros(500, np.float32), 8)
    assert (exact.verdict, exact.buckets[0].ratio) == (Verdict.EXACT, None)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.none() | st.integers(-1, 31))
def test_buckets_hold_every_item_once_in_order_of_time(days: list[int], old_until: int | None) -> None:
    times = np.array(days, np.int64)
    errors = (times + 1).astype(np.float32)
    buckets = measure_drift(times, errors, 4, old_until).buckets
    assert 1 <= len(buckets) <= BUCKETS + 1
    assert sum(bucket.items for bucket in buckets) == len(days)
    edges = [edge for bucket in buckets for edge in (bucket.from_us, bucket.to_us)]
    assert edges == sorted(edges)
    for bucket in buckets:
        inside = (times >= bucket.from_us) & (times <= bucket.to_us)
        assert bucket.items == inside.sum()
        assert bucket.median_error == np.median(errors[inside])
        assert old_until is None or not bucket.from_us <= old_until < bucket.to_us
