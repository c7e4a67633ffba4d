"""Scores of codes that no training held, against the rule in plain words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import learned
from neo_runtime.trie.learned import LearnedTuples

SPACE = SidSpace((4, 3, 5))
TUPLES = st.tuples(*(st.integers(0, size - 1) for size in SPACE.level_sizes))


def by_the_rule(
    tuples: set[tuple[int, ...]], prefix: tuple[int, ...], logits: list[float], norm: float, bonus: float
) -> list[float]:
    below = [codes for codes in tuples if codes[: len(prefix)] == prefix]
    known = {codes[len(prefix)] for codes in below}
    if not below:
        return [norm] * len(logits)
    average = math.log(sum(math.exp(logits[code]) for code in known) / len(below)) + bonus
    return [logit if code in known else average for code, logit in enumerate(logits)]


@given(st.sets(TUPLES, max_size=30), st.lists(TUPLES, max_size=8), st.integers(0, 2), st.integers(0, 2**32 - 1))
@settings(deadline=None)
@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "numpy"])
def test_a_code_that_no_training_held_scores_as_the_average_learned_tuple_beside_it(
    is_compiled: bool, tuples: set[tuple[int, ...]], asked: list[tuple[int, ...]], depth: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    keys = SPACE.pack(np.array(sorted(tuples), np.int32).reshape(-1, SPACE.levels))
    prefixes = [codes[:depth] for codes in asked]
    logits = rng.normal(scale=3, size=(len(asked), SPACE.level_sizes[depth])).astype(np.float32)
    norms, bonus = rng.normal(size=len(asked)).astype(np.float32), float(rng.normal())
    with pytest.MonkeyPatch.context() as patch:
        if not is_compiled:
            patch.setattr(learned, "_loops", lambda: None)
        codes = np.array(prefixes, np.int32).reshape(len(asked), depth)
        found, kept = LearnedTuples(SPACE, keys).rescored(codes, logits, norms, bonus)
        own, own_norms = LearnedTuples(SPACE, keys).rescored(codes, logits, None, bonus)
    np.testing.assert_array_equal(kept, norms)
    for row, prefix in enumerate(prefixes):
        wanted = by_the_rule(tuples, prefix, logits[row].tolist(), float(norms[row]), bonus)
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-5)
        known = sorted({codes[depth] for codes in tuples if codes[:depth] == prefix})
        assert own[row].tolist() == pytest.approx(wanted if known else [0.0] * len(wanted), abs=1e-5)
        assert own_norms[row] == pytest.approx(np.logaddexp.reduce(logits[row, known]) if known else 0.0, abs=1e-5)


@given(st.sets(TUPLES, max_size=30), st.lists(TUPLES, max_size=8), st.integers(0, 2))
@settings(deadline=None)
def test_what_follows_a_prefix_is_what_learned_tuples_have_there_or_all(
    tuples: set[tuple[int, ...]], asked: list[tuple[int, ...]], depth: int
) -> None:
    keys = SPACE.pack(np.array(sorted(tuples), np.int32).reshape(-1, SPACE.levels))
    prefixes = [codes[:depth] for codes in asked]
    found = LearnedTuples(SPACE, keys).follow(np.array(prefixes, np.int32).reshape(len(asked), depth))
    every = set(range(SPACE.level_sizes[depth]))
    assert found.shape == (len(asked), len(every))
    for row, prefix in enumerate(prefixes):
        wanted = {codes[depth] for codes in tuples if codes[:depth] == prefix} or every
        assert set(np.flatnonzero(found[row])) == wanted


def test_what_was_learned_keeps_its_scores_bit_for_bit() -> None:
    every = np.array([(a, b, c) for a in range(4) for b in range(3) for c in range(5)], np.int32)
    rows = np.array([[0, 1], [3, 2]], np.int32)
    logits = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    found, _ = LearnedTuples(SPACE, SPACE.pack(every)).rescored(rows, logits, np.zeros(2, np.float32))
    np.testing.assert_array_equal(found, logits)
