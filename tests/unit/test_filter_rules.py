"""What a filter means at its edges, what it may hold, and what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from neo_runtime.errors import InvalidRequestError
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.predicate import Condition, Equals, Exists, OneOf, Predicate, Range, Test, check, matches
from neo_runtime.trie.predicate_json import from_json
from neo_runtime.types import Attribute


def one(test: Test, attribute: str = "a") -> Predicate:
    return Predicate(must=(Condition(attribute, test),))


def nested(depth: int) -> Predicate:
    tree = one(Equals(1))
    for _ in range(depth - 1):
        tree = Predicate(must=(tree,))
    return tree


def faults(predicate: Predicate) -> dict[str, str]:
    try:
        check(predicate)
    except InvalidRequestError as error:
        assert error.reason == "BAD_FILTER"
        return {violation.field: violation.description for violation in error.violations}
    return {}


MEANINGS: list[tuple[Test, Attribute, bool]] = [
    (Equals(1), 1.0, True),
    (Equals(1), True, False),
    (Equals(True), 1, False),
    (Equals("1"), 1, False),
    (Equals(2.0**53), 2**53, True),
    (Equals(2.0**53), 2**53 + 1, False),  # as a float, it is the same number
    (Equals(2**53 + 1), 2.0**53, False),
    (OneOf((True, 2)), 1, False),
    (OneOf((True, 2)), True, True),
    (Range(2**53 + 1), 2.0**53, False),
    (Range(None, 2**53 + 1), 2.0**53, True),
    (Range(2.0**53, None), 2**53 - 1, False),
    (Range(0), True, False),
    (Range(0), "1", False),
    (Range("a"), 1, False),
    (Range("\uffff"), "\U0001f600", True),  # by code point; in UTF-16 it would come before
    (Range("a", "b"), "az", True),
    (Range(1, 2), 2, False),
    (Range(2, 1), 1, False),
    (Equals("war"), ["film", "war"], True),
    (Equals("war"), [], False),
    (Exists(True), [], True),
    (Exists(False), [], False),
]


@pytest.mark.parametrize(("test", "value", "passes"), MEANINGS)
def test_a_test_of_one_value(test: Test, value: Attribute, passes: bool) -> None:
    assert matches(one(test), {"a": value}) is passes
    assert Columns.of([{"a": value}]).select(one(test)).tolist() == [passes]


@pytest.mark.parametrize("test", [Equals(1), OneOf((1, "x")), Range(None, 5), Exists(True)])
def test_a_missing_attribute_fails_every_test_but_one(test: Test) -> None:
    assert not matches(one(test), {"b": 1})
    assert matches(one(Exists(False)), {"b": 1})
    assert matches(Predicate(must_not=(Condition("a", test),)), {"b": 1})


def test_an_empty_filter_lets_everything_pass() -> None:
    assert matches(Predicate(), {})
    assert Columns.of([{}, {"a": 1}]).select(Predicate()).tolist() == [True, True]


def test_true_and_one_are_different_filters_and_one_and_one_point_zero_are_not() -> None:
    assert one(Equals(True)) != one(Equals(1))
    assert one(OneOf((True,))) != one(OneOf((1,)))
    assert one(Equals(1.0)) == one(Equals(1))
    assert len({one(Equals(True)), one(Equals(1)), one(Equals(1.0))}) == 2


def test_a_filter_at_its_limits_is_accepted() -> None:
    assert faults(nested(4)) == {}
    assert faults(Predicate(must=(Condition("a", Equals(1)),) * 64)) == {}
    assert faults(one(OneOf(tuple(range(1_000))))) == {}
    assert faults(one(OneOf((2**63 - 1, -(2**63))))) == {}


BEYOND: list[tuple[Predicate, str, str]] = [
    (nested(5), "filter" + ".must[0].nested" * 4, "nested more than 4 deep"),
    (Predicate(must=(Condition("a", Equals(1)),) * 65), "filter", "65 conditions, over the limit of 64"),
    (Predicate(should=(nested(2),) * 22), "filter", "66 conditions, over the limit of 64"),
    (Predicate(should=(Predicate(),)), "filter.should[0].nested", "empty"),
    (Predicate(must_not=(Condition("", Exists(True)),)), "filter.must_not[0].attribute", "missing"),
    (one(OneOf(())), "filter.must[0].one_of", "has 0 values; 1 to 1,000"),
    (one(OneOf(("x",) * 1_001)), "filter.must[0].one_of", "has 1001 values"),
    (one(OneOf((1, 2**63))), "filter.must[0].one_of[1]", "64 bits"),
    (one(Equals(float("nan"))), "filter.must[0].equals", "finite"),
    (one(Equals("\ud800")), "filter.must[0].equals", "Unicode"),
    (one(Range()), "filter.must[0].range", "has no bound"),
    (one(Range(1, "x")), "filter.must[0].range", "both bounds must be numbers"),
    (one(Range(False, True)), "filter.must[0].range", "boolean"),
]


@pytest.mark.parametrize(("predicate", "path", "words"), BEYOND)
def test_a_filter_beyond_its_limits_is_refused_with_the_place(predicate: Predicate, path: str, words: str) -> None:
    assert list(faults(predicate)) == [path]
    assert words in faults(predicate)[path]


MALFORMED: list[tuple[Any, str, str]] = [
    ([], "filter", "must be an object"),
    ({"must": {}}, "filter.must", "must be a list"),
    ({"any": []}, "filter", "unknown field 'any'"),
    ({"must": [{"attribute": "a"}]}, "filter.must[0]", "must have one test of"),
    ({"must": [{"attribute": "a", "equals": 1, "exists": True}]}, "filter.must[0]", "not equals and exists"),
    ({"must": [{"equals": 1}]}, "filter.must[0].attribute", "name of an attribute"),
    ({"must": [{"attribute": "a", "equals": None}]}, "filter.must[0].equals", "not NoneType"),
    ({"must": [{"attribute": "a", "oneOf": "x"}]}, "filter.must[0].one_of", "list of values"),
    ({"must": [{"attribute": "a", "range": {"more": 1}}]}, "filter.must[0].range", "unknown field 'more'"),
    ({"must": [{"attribute": "a", "exists": 1}]}, "filter.must[0].exists", "true or false"),
    ({"mustNot": [], "must_not": []}, "filter", "both spellings"),
    ({"should": [{"attribute": "a", "nested": {"must": [{"attribute": "b", "equals": 1}]}}]},
     "filter.should[0].attribute", "does not belong to a nested filter"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "path", "words"), MALFORMED)
def test_malformed_json_is_refused_with_the_place(value: object, path: str, words: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        from_json(value)
    assert [violation.field for violation in refusal.value.violations] == [path]
    assert words in str(refusal.value)


def test_a_refusal_names_every_fault() -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        from_json({"must": [{"attribute": "", "equals": []}], "should": [{}], "else": 1})
    assert {violation.field for violation in refusal.value.violations} == {
        "filter", "filter.must[0].attribute", "filter.must[0].equals", "filter.should[0]",
    }  # fmt: skip


def test_json_nested_without_end_is_refused_and_not_followed() -> None:
    value: dict[str, object] = {"must": [{"attribute": "a", "equals": 1}]}
    for _ in range(100_000):
        value = {"must": [{"nested": value}]}
    with pytest.raises(InvalidRequestError, match="nested more than 4 deep"):
        from_json(value)


def test_both_spellings_of_the_field_names_are_read() -> None:
    tree = from_json(
        {"must_not": [{"attribute": "a", "one_of": [1]}, {"attribute": "b", "range": {"greater_or_equal": 2}}]}
    )
    assert tree == from_json(
        {"mustNot": [{"attribute": "a", "oneOf": [1]}, {"attribute": "b", "range": {"greaterOrEqual": 2}}]}
    )
