"""Filters over columns decide as the readable reference does for one item, whatever was taken, joined or saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.trie.columns import Columns
from neo_runtime.trie.predicate import Condition, Equals, OneOf, Predicate, Range, check, matches
from neo_runtime.trie.predicate_json import from_json, to_json
from neo_runtime.types import Attribute
from tests.kit.filters import ATTRIBUTES, CONDITIONS, PREDICATES

ROWS = st.lists(ATTRIBUTES, max_size=12)
# Around the places where float64 has no place for every integer, and where int64 ends.
CLOSE_NUMBERS = st.sampled_from(
    [sign * (base + step) for sign in (1, -1) for base in (2**53, 2**62) for step in range(-2, 4)]
    + [sign * float(base + step) for sign in (1, -1) for base in (2**53, 2**62) for step in (-2, 0, 2, 1024)]
    + [-(2**63), 2**63 - 1, -(2.0**63), 2.0**63, 0, 0.0, 0.5]
)


def rows_of(columns: Columns) -> list[dict[str, Attribute]]:
    return [columns.row(row) for row in range(len(columns))]


def assert_same(found: Columns, rows: list[dict[str, Attribute]]) -> None:
    """Types too: 1, 1.0 and True are three attributes."""
    assert [sorted((name, repr(value)) for name, value in row.items()) for row in rows_of(found)] == [
        sorted((name, repr(value)) for name, value in row.items()) for row in rows
    ]


@given(ROWS, PREDICATES)
@settings(max_examples=600, deadline=None)
def test_selecting_columns_is_matching_every_row(rows: list[dict[str, Attribute]], predicate: Predicate) -> None:
    check(predicate)
    assert Columns.of(rows).select(predicate).tolist() == [matches(predicate, row) for row in rows]


@given(ROWS, CONDITIONS)
@settings(max_examples=600, deadline=None)
def test_selecting_by_one_condition_is_matching_every_row(
    rows: list[dict[str, Attribute]], condition: Condition
) -> None:
    predicate = Predicate((condition,))
    assert Columns.of(rows).select(predicate).tolist() == [matches(predicate, row) for row in rows]


@given(st.lists(CLOSE_NUMBERS, max_size=8), st.lists(CLOSE_NUMBERS, min_size=1, max_size=3))
@settings(max_examples=600, deadline=None)
def test_integers_and_floats_that_one_type_cannot_tell_apart_are_told_apart(
    values: list[int | float], bounds: list[int | float]
) -> None:
    columns = Columns.of([{"a": value} for value in values])
    for test in (Equals(bounds[0]), OneOf(tuple(bounds)), Range(bounds[0]), Range(None, bounds[0])):
        predicate = Predicate((Condition("a", test),))
        assert columns.select(predicate).tolist() == [matches(predicate, {"a": value}) for value in values]


@given(ROWS)
@settings(max_examples=200, deadline=None)
def test_columns_give_back_the_rows_they_were_made_of(rows: list[dict[str, Attribute]]) -> None:
    columns = Columns.of(iter(rows))
    assert_same(columns, rows)
    saved = {name: np.frombuffer(array.tobytes(), array.dtype) for name, array in columns.arrays().items()}
    assert_same(Columns.from_arrays(len(rows), saved), rows)


@given(ROWS, ROWS, st.data())
@settings(max_examples=400, deadline=None)
def test_taken_and_joined_columns_are_those_of_the_taken_and_joined_rows(
    rows: list[dict[str, Attribute]], others: list[dict[str, Attribute]], data: st.DataObject
) -> None:
    kept = [row for row in range(len(rows)) if data.draw(st.booleans())]
    order = data.draw(st.permutations(range(len(kept) + len(others))))[: data.draw(st.integers(0, 24))]
    expected = [([rows[row] for row in kept] + others)[row] for row in order]
    joined = Columns.of(rows).take(np.array(kept, np.int64)).concat(Columns.of(others))
    found = joined.take(np.array(order, np.int64))
    assert_same(found, expected)
    predicate = data.draw(PREDICATES)
    assert found.select(predicate).tolist() == [matches(predicate, row) for row in expected]
    afresh = Columns.of(expected).arrays()
    assert {name: array.tolist() for name, array in found.arrays().items()} == {
        name: array.tolist() for name, array in afresh.items()
    }, "nothing is left of what was not taken"


def test_columns_are_memory_mapped_without_a_copy(tmp_path: Path) -> None:
    rows: list[dict[str, Attribute]] = [{"year": 1979, "genres": ["war", "film"]}, {"year": 1980, "title": "Dune"}]
    saved = {}
    for name, array in Columns.of(rows).arrays().items():
        np.save(tmp_path / name, array)
        saved[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    columns = Columns.from_arrays(2, saved)
    assert_same(columns, rows)
    assert columns.select(Predicate((Condition("genres", Equals("war")),))).tolist() == [True, False]
    assert all(np.shares_memory(array, saved[name]) for name, array in columns.arrays().items() if name != "columns")


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    saved = Columns.of([{"year": 1}, {"year": 2}]).arrays()
    with pytest.raises(ValueError, match="attribute 'year' has 2 values"):
        Columns.from_arrays(3, saved)


@given(PREDICATES)
@settings(max_examples=200, deadline=None)
def test_a_filter_survives_its_json_form(predicate: Predicate) -> None:
    again = from_json(json.loads(json.dumps(to_json(predicate))))
    assert again == predicate
    assert hash(again) == hash(predicate)
    assert to_json(again) == to_json(predicate)
