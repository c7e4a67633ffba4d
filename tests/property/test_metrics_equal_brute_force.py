"""Metrics, lists, counts and fusions as arrays equal the same written as loops."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.data.ragged import Ragged
from neo_runtime.data.transitions import transitions
from neo_runtime.evaluation.counts import inverses
from neo_runtime.evaluation.fused import BELOW, RANK_OFFSET, Scale, fuse
from neo_runtime.evaluation.metrics import CUTS, per_question, several_hits, single_hits
from neo_runtime.evaluation.neighbours import ease_weights, together
from neo_runtime.evaluation.ranker import NONE, Ranked, top

LISTS = st.lists(st.permutations(range(40)).map(lambda items: items[:35]), min_size=1, max_size=5)
ROWS = st.lists(st.lists(st.integers(0, 7), max_size=8), min_size=1, max_size=6)


@given(LISTS, st.data())
def test_hits_and_gains_of_one_or_several_items(lists: list[list[int]], data: st.DataObject) -> None:
    relevant = [data.draw(st.sets(st.integers(0, 60), min_size=1, max_size=40)) for _ in lists]
    found = per_question(several_hits(np.array(lists, np.int32), Ragged.of([sorted(one) for one in relevant])))
    for row, (items, wanted) in enumerate(zip(lists, relevant, strict=True)):
        for cut in CUTS:
            gains = [1 / math.log2(place + 2) for place, item in enumerate(items[:cut]) if item in wanted]
            ideal = sum(1 / math.log2(place + 2) for place in range(min(cut, len(wanted))))
            assert found[f"HR@{cut}"][row] == (len(gains) > 0)
            assert math.isclose(found[f"NDCG@{cut}"][row], sum(gains) / ideal, abs_tol=1e-12)


@given(LISTS, st.data())
def test_one_right_item_is_a_row_of_one(lists: list[list[int]], data: st.DataObject) -> None:
    targets = [data.draw(st.integers(0, 60)) for _ in lists]
    items = np.array(lists, np.int32)
    items[:, 30:] = NONE
    one, several = (
        single_hits(items, np.array(targets, np.int32)),
        several_hits(items, Ragged.of([[t] for t in targets])),
    )
    assert one.found.tolist() == several.found.tolist()
    assert one.relevant.tolist() == several.relevant.tolist()


@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_the_best_of_each_row(rows: int, items: int, k: int, seed: int, is_tied: bool) -> None:
    random = np.random.default_rng(seed)
    scores = (
        random.integers(0, 5, (rows, items)).astype(np.float32) if is_tied else random.random((rows, items), np.float32)
    )
    scores[random.random((rows, items)) < 0.3] = -np.inf
    found = top(scores.copy(), k)
    assert found.items.shape == found.scores.shape == (rows, k)
    for row in range(rows):
        expected = sorted((score for score in scores[row] if np.isfinite(score)), reverse=True)[:k]
        count = len(expected)
        assert found.scores[row, :count].tolist() == expected
        assert scores[row, found.items[row, :count]].tolist() == expected
        assert len(set(found.items[row, :count].tolist())) == count
        assert found.items[row, count:].tolist() == [NONE] * (k - count)


@given(ROWS, st.integers(1, 4))
def test_transitions_are_counts_by_distance(rows: list[list[int]], window: int) -> None:
    weights = inverses(1, window)
    expected = np.zeros((8, 8))
    for row in rows:
        for place, before in enumerate(row):
            for distance in range(1, window + 1):
                if place + distance < len(row):
                    expected[before, row[place + distance]] += weights[distance - 1]
    np.testing.assert_allclose(transitions(Ragged.of(rows), 8, weights).toarray(), expected, rtol=1e-5)


@given(ROWS.map(lambda rows: [list(dict.fromkeys(row)) for row in rows]))
@settings(max_examples=30)
def test_ease_is_the_closed_form(rows: list[list[int]]) -> None:
    users = np.zeros((len(rows), 8))
    for user, row in enumerate(rows):
        users[user, row] = 1
    gram = users.T @ users
    np.testing.assert_allclose(together(Ragged.of(rows), 8).toarray(), gram)
    inverse = np.linalg.inv(gram + 5 * np.eye(8))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(ease_weights(Ragged.of(rows), 8, 5.0), expected, atol=1e-5)


@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(1, 8), st.integers(1, 8), st.floats(0.5, 4))
def test_fusion_by_places(ours: list[int], theirs: list[int], first: int, second: int, weight: float) -> None:
    """What one list does not hold counts as just below its last place."""
    width = 8
    lists = []
    for items, count in ((ours, first), (theirs, second)):
        padded = np.array([items[:count] + [NONE] * (width - count)], np.int32)
        lists.append(Ranked(padded, np.linspace(1, 0, width, dtype=np.float32)[None, :]))
    found = fuse(lists[0], lists[1], Scale.RECIPROCAL, weight, 30)
    expected: dict[int, float] = defaultdict(float)
    for items, count, share in ((ours, first, 1.0), (theirs, second, weight)):
        for item in {*ours[:first], *theirs[:second]}:
            is_held = item in items[:count]
            place = items[:count].index(item) if is_held else count - 1
            expected[item] += share * (1 / (RANK_OFFSET + place) - (0 if is_held else BELOW))
    kept = found.items[0] != NONE
    assert set(found.items[0][kept].tolist()) == set(expected)
    values = [expected[item] for item in found.items[0][kept].tolist()]
    np.testing.assert_allclose(found.scores[0][kept], values, rtol=1e-5)
    assert all(before >= after - 1e-6 for before, after in pairwise(values))
