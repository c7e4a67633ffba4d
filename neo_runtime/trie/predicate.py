"""The filter tree of requests and configuration: values, what they mean, their limits, their JSON form.

An item passes where all of `must` hold, at least one of `should` (if there is any) and none of `must_not`. A missing
attribute fails every test but `exists: false`; an empty list is present, but no test of a value holds for it. A list
passes where any element does. Text, numbers and booleans are three kinds that never equal each other and that no
range spans: text goes by code point, an integer and a float compare by their exact values, however large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from neo_runtime.errors import FieldViolation, InvalidRequestError
from neo_runtime.types import Attribute

MAX_DEPTH = 4
MAX_CONDITIONS = 64  # in the whole tree, a nested filter being one too
MAX_ONE_OF = 1_000
BAD_FILTER = "BAD_FILTER"

Scalar = str | int | float | bool
Kind = Literal["text", "number", "bool"]
Member = tuple[Kind, Scalar]  # Python has True == 1; with its kind, a value equals what a filter means by it


def member(value: Scalar) -> Member:
    kind: Kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    return kind, value


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is this one."""

    value: Scalar = field(compare=False)
    member: Member = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "member", member(self.value))


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is among these."""

    values: tuple[Scalar, ...] = field(compare=False)
    members: frozenset[Member] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", frozenset(map(member, self.values)))


@dataclass(frozen=True, slots=True)
class Range:
    """The value is at least `greater_or_equal` and below `less`; None: no bound on that side."""

    greater_or_equal: Scalar | None = None
    less: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The item has the attribute, or has it not."""

    wanted: bool


Test = Equals | OneOf | Range | Exists


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute under one test."""

    attribute: str
    test: Test


@dataclass(frozen=True, slots=True)
class Predicate:
    """The tree. Empty, it lets every item pass."""

    must: tuple[Condition | Predicate, ...] = ()
    should: tuple[Condition | Predicate, ...] = ()
    must_not: tuple[Condition | Predicate, ...] = ()


Clause = Condition | Predicate
STAND_IN = Condition("?", Exists(True))  # what a reader puts where it refused something, so that it is refused once


def matches(predicate: Predicate, attributes: Mapping[str, Attribute]) -> bool:
    """Whether an item with these attributes passes."""

    def holds(clause: Clause) -> bool:
        if isinstance(clause, Predicate):
            return matches(clause, attributes)
        return _passes(clause.test, attributes.get(clause.attribute))

    return (
        all(map(holds, predicate.must))
        and (not predicate.should or any(map(holds, predicate.should)))
        and not any(map(holds, predicate.must_not))
    )


def _passes(test: Test, value: Attribute | None) -> bool:
    if isinstance(test, Exists):
        return test.wanted == (value is not None)
    elements = [] if value is None else value if isinstance(value, list) else [value]
    return any(_accepts(test, member(element)) for element in elements)


def _accepts(test: Equals | OneOf | Range, found: Member) -> bool:
    if isinstance(test, Equals):
        return found == test.member
    if isinstance(test, OneOf):
        return found in test.members
    return _at_least(found, test.greater_or_equal) and (test.less is None or _below(found, test.less))


def _at_least(found: Member, bound: Scalar | None) -> bool:
    return bound is None or (found[0] == member(bound)[0] and found[1] >= bound)  # type: ignore[operator]


def _below(found: Member, bound: Scalar) -> bool:
    return found[0] == member(bound)[0] and found[1] < bound  # type: ignore[operator]


def check(predicate: Predicate, path: str = "filter") -> None:
    """InvalidRequestError with everything in the tree that breaks a limit or can hold for nothing."""
    refuse(list(violations(predicate, path)))


def refuse(found: list[FieldViolation]) -> None:
    if found:
        raise InvalidRequestError(found, reason=BAD_FILTER)


def violations(predicate: Predicate, path: str) -> Iterator[FieldViolation]:
    """What `check` raises, one by one."""
    total = _conditions(predicate)
    if total > MAX_CONDITIONS:
        yield FieldViolation(path, f"has {total} conditions, over the limit of {MAX_CONDITIONS}")
        return
    yield from _tree_violations(predicate, path, 1)


def lists(predicate: Predicate) -> Iterator[tuple[str, tuple[Clause, ...]]]:
    """The three lists with their names."""
    yield from (("must", predicate.must), ("should", predicate.should), ("must_not", predicate.must_not))


def _conditions(predicate: Predicate) -> int:
    clauses = [clause for _, entries in lists(predicate) for clause in entries]
    return len(clauses) + sum(_conditions(clause) for clause in clauses if isinstance(clause, Predicate))


def _tree_violations(predicate: Predicate, path: str, depth: int) -> Iterator[FieldViolation]:
    if depth > MAX_DEPTH:
        yield FieldViolation(path, f"is nested more than {MAX_DEPTH} deep")
        return
    for name, clauses in lists(predicate):
        for index, clause in enumerate(clauses):
            place = f"{path}.{name}[{index}]"
            if isinstance(clause, Condition):
                yield from _condition_violations(clause, place)
            elif clause == Predicate():
                yield FieldViolation(f"{place}.nested", "is empty")
            else:
                yield from _tree_violations(clause, f"{place}.nested", depth + 1)


def _condition_violations(condition: Condition, path: str) -> Iterator[FieldViolation]:
    if not condition.attribute:
        yield FieldViolation(f"{path}.attribute", "is missing")
    test = condition.test
    if isinstance(test, Equals):
        yield from _value_violations(test.value, f"{path}.equals")
    elif isinstance(test, OneOf):
        if not 1 <= len(test.values) <= MAX_ONE_OF:
            yield FieldViolation(f"{path}.one_of", f"has {len(test.values)} values; 1 to {MAX_ONE_OF:,} are allowed")
        for index, value in enumerate(test.values[:MAX_ONE_OF]):
            yield from _value_violations(value, f"{path}.one_of[{index}]")
    elif isinstance(test, Range):
        yield from _range_violations(test, f"{path}.range")


def _range_violations(test: Range, path: str) -> Iterator[FieldViolation]:
    bounds = [bound for bound in (test.greater_or_equal, test.less) if bound is not None]
    kinds = {member(bound)[0] for bound in bounds}
    if not bounds:
        yield FieldViolation(path, "has no bound: set greater_or_equal, less or both")
    elif len(kinds) > 1:
        yield FieldViolation(path, "goes from one kind to another: both bounds must be numbers, or both texts")
    elif "bool" in kinds:
        yield FieldViolation(path, "has a boolean bound: use equals")
    for bound in bounds:
        yield from _value_violations(bound, path)


def _value_violations(value: Scalar, path: str) -> Iterator[FieldViolation]:
    if isinstance(value, float) and not math.isfinite(value):
        yield FieldViolation(path, "is not a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield FieldViolation(path, "does not fit 64 bits")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield FieldViolation(path, "is not valid Unicode")
