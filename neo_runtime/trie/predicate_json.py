"""Filter trees as JSON and TOML, in configuration, on the command line and in clients.

    {"must": [{"attribute": "year", "range": {"greaterOrEqual": 1990}}], "mustNot": [{"nested": {"should": [...]}}]}

Field names are those of the protobuf messages, in either spelling that protobuf's JSON reads (`mustNot`, `must_not`);
values stand by themselves, `oneOf` is a plain list. Nothing unknown is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from neo_runtime.errors import FieldViolation, InvalidRequestError, StartupError
from neo_runtime.trie.predicate import (
    MAX_DEPTH,
    STAND_IN,
    Clause,
    Condition,
    Equals,
    Exists,
    OneOf,
    Predicate,
    Range,
    Scalar,
    Test,
    lists,
    refuse,
    violations,
)

_SPELLING = {"mustNot": "must_not", "oneOf": "one_of", "greaterOrEqual": "greater_or_equal"}
_JSON_NAMES = {name: spelling for spelling, name in _SPELLING.items()}
_NAME = re.compile(r"[\w.-]{1,64}")
MAX_DECLARED = 256  # one bitmap over the whole catalog each
_LISTS = ("must", "should", "must_not")
_TESTS = ("equals", "one_of", "range", "exists", "nested")


def from_json(value: object, path: str = "filter") -> Predicate:
    """The tree that parsed JSON or TOML describes. InvalidRequestError with every fault and its path."""
    reader = _Reader()
    predicate = reader.predicate(value, path, 1)
    refuse([*reader.faults, *violations(predicate, path)])
    return predicate


def declared(filters: Mapping[str, object]) -> dict[str, Predicate]:
    """The filters of the configuration. StartupError where one is wrong: what a request names must hold exactly."""
    if len(filters) > MAX_DECLARED:
        raise StartupError(f"setting filters: declares {len(filters)}, over the limit of {MAX_DECLARED}; remove some")
    found = {}
    for name, value in filters.items():
        if not _NAME.fullmatch(name):
            raise StartupError(f"setting filters: {name!r} is no name; take up to 64 letters, digits, '_', '-', '.'")
        try:
            found[name] = from_json(value, f"filters.{name}")
        except InvalidRequestError as error:
            raise StartupError(f"setting {error}; correct the filter, then start again") from error
    return found


def to_json(predicate: Predicate) -> dict[str, Any]:
    """What `from_json` turns into an equal tree."""
    return {_JSON_NAMES.get(name, name): list(map(_clause_json, found)) for name, found in lists(predicate) if found}


def _clause_json(clause: Clause) -> dict[str, Any]:
    if isinstance(clause, Predicate):
        return {"nested": to_json(clause)}
    return {"attribute": clause.attribute, **_test_json(clause.test)}


def _test_json(test: Test) -> dict[str, Any]:
    match test:
        case Equals():
            return {"equals": test.value}
        case OneOf():
            return {"oneOf": list(test.values)}
        case Exists():
            return {"exists": test.wanted}
        case Range():
            bounds = {"greaterOrEqual": test.greater_or_equal, "less": test.less}
            return {"range": {name: bound for name, bound in bounds.items() if bound is not None}}


class _Reader:
    """Reads on past a fault, so that one answer names them all; what it returns counts only where there are none."""

    def __init__(self) -> None:
        self.faults: list[FieldViolation] = []

    def predicate(self, value: object, path: str, depth: int) -> Predicate:
        if depth > MAX_DEPTH:  # which `violations` tells
            return Predicate((STAND_IN,))
        fields = self._fields(value, path, _LISTS)
        return Predicate(*(self._clauses(fields.get(name, []), f"{path}.{name}", depth) for name in _LISTS))

    def _clauses(self, value: object, path: str, depth: int) -> tuple[Clause, ...]:
        if not isinstance(value, list):
            self._wrong(path, "must be a list of conditions")
            return ()
        return tuple(self._clause(entry, f"{path}[{index}]", depth) for index, entry in enumerate(value))

    def _clause(self, value: object, path: str, depth: int) -> Clause:
        fields = self._fields(value, path, ("attribute", *_TESTS))
        named = [name for name in _TESTS if name in fields]
        if len(named) != 1:
            self._wrong(path, f"must have one test of {', '.join(_TESTS)}, not {' and '.join(named) or 'none'}")
            return STAND_IN
        if named == ["nested"]:
            if "attribute" in fields:
                self._wrong(f"{path}.attribute", "does not belong to a nested filter: its conditions name their own")
            return self.predicate(fields["nested"], f"{path}.nested", depth + 1)
        attribute = fields.get("attribute", "")
        if not isinstance(attribute, str) or not attribute:
            self._wrong(f"{path}.attribute", "must be the name of an attribute")
            attribute = STAND_IN.attribute
        before = len(self.faults)
        test = self._test(named[0], fields[named[0]], f"{path}.{named[0]}")
        return Condition(attribute, test if len(self.faults) == before else STAND_IN.test)

    def _test(self, name: str, value: object, path: str) -> Test:
        if name == "equals":
            return Equals(self._scalar(value, path))
        if name == "one_of":
            if not isinstance(value, list):
                self._wrong(path, "must be a list of values")
                return OneOf(())
            return OneOf(tuple(self._scalar(entry, f"{path}[{index}]") for index, entry in enumerate(value)))
        if name == "range":
            bounds = self._fields(value, path, ("greater_or_equal", "less"))
            return Range(**{bound: self._scalar(entry, f"{path}.{bound}") for bound, entry in bounds.items()})
        if not isinstance(value, bool):
            self._wrong(path, "must be true or false")
        return Exists(value is True)

    def _scalar(self, value: object, path: str) -> Scalar:
        if isinstance(value, str | int | float):
            return value
        self._wrong(path, f"must be a text, a number, true or false, not {type(value).__name__}")
        return ""

    def _fields(self, value: object, path: str, known: tuple[str, ...]) -> dict[str, object]:
        if not isinstance(value, Mapping):
            self._wrong(path, f"must be an object with {', '.join(known)}")
            return {}
        fields = {_SPELLING.get(name, name): entry for name, entry in value.items()}
        if len(fields) < len(value):
            self._wrong(path, "has a field in both spellings")
        for name in fields.keys() - set(known):
            self._wrong(path, f"has an unknown field {name!r}; known are {', '.join(known)}")
        return {name: entry for name, entry in fields.items() if name in known}

    def _wrong(self, path: str, description: str) -> None:
        self.faults.append(FieldViolation(path, description))
