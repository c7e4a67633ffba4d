"""Protobuf filters to filter trees; every fault is reported with its place in the request."""

from __future__ import annotations

from collections.abc import Sequence

from neo_runtime.errors import FieldViolation
from neo_runtime.trie.predicate import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_ONE_OF,
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
    violations,
)
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1 import constraint_pb2 as pb


def read_filter(message: pb.Filter, path: str) -> tuple[Predicate, list[FieldViolation]]:
    """The tree, to be used only where there is no violation."""
    reader = _FilterReader()
    predicate = reader.predicate(message, path, 1)
    return predicate, [*reader.faults, *violations(predicate, path)]


class _FilterReader:
    """Reads on past a fault, but no further than a tree within the limits reaches."""

    def __init__(self) -> None:
        self.faults: list[FieldViolation] = []
        self._conditions = 0

    def predicate(self, message: pb.Filter, path: str, depth: int) -> Predicate:
        lists = {"must": message.must, "should": message.should, "must_not": message.must_not}
        self._conditions += sum(map(len, lists.values()))
        if depth > MAX_DEPTH:  # which `violations` tells
            return Predicate((STAND_IN,))
        if self._conditions > MAX_CONDITIONS:
            self._wrong(path, f"brings the filter over its limit of {MAX_CONDITIONS} conditions")
            return Predicate((STAND_IN,))
        return Predicate(*(self._clauses(entries, f"{path}.{name}", depth) for name, entries in lists.items()))

    def _clauses(self, conditions: Sequence[pb.Condition], path: str, depth: int) -> tuple[Clause, ...]:
        return tuple(self._clause(entry, f"{path}[{index}]", depth) for index, entry in enumerate(conditions))

    def _clause(self, message: pb.Condition, path: str, depth: int) -> Clause:
        kind = message.WhichOneof("test")
        if kind == "nested":
            if message.attribute:
                self._wrong(f"{path}.attribute", "does not belong to a nested filter: its conditions name their own")
            return self.predicate(message.nested, f"{path}.nested", depth + 1)
        if kind is None:
            self._wrong(path, "has no test: set equals, one_of, range, exists or nested")
            return STAND_IN
        before = len(self.faults)
        test = self._test(message, kind, f"{path}.{kind}")
        return Condition(message.attribute, test if len(self.faults) == before else STAND_IN.test)

    def _test(self, message: pb.Condition, kind: str, path: str) -> Test:
        if kind == "equals":
            return Equals(self._scalar(message.equals, path))
        if kind == "one_of":
            values = message.one_of.values
            if len(values) > MAX_ONE_OF:
                self._wrong(path, f"has {len(values)} values, over the limit of {MAX_ONE_OF:,}")
                return OneOf(())
            return OneOf(tuple(self._scalar(value, f"{path}.values[{index}]") for index, value in enumerate(values)))
        if kind == "range":
            return Range(*(self._bound(message.range, name, path) for name in ("greater_or_equal", "less")))
        return Exists(message.exists)

    def _bound(self, message: pb.Condition.Range, name: str, path: str) -> Scalar | None:
        """Times are stored as RFC 3339 texts, with a fraction where they have one: `…:00.5Z` sorts before `…:00Z`.

        The text up to the whole second sorts before both and after every earlier second.
        """
        if not message.HasField(name):
            return None
        value: catalog_pb2.AttributeValue = getattr(message, name)
        scalar = self._scalar(value, f"{path}.{name}")
        if value.WhichOneof("kind") != "time_value":
            return scalar
        if value.time_value.nanos:
            self._wrong(f"{path}.{name}", "must be a time of a whole second")
        return str(scalar).removesuffix("Z")

    def _scalar(self, value: catalog_pb2.AttributeValue, path: str) -> Scalar:
        kind = value.WhichOneof("kind")
        if kind == "time_value":
            return self._time(value, path)
        if kind is None or kind == "string_list":
            self._wrong(path, "has no value" if kind is None else "is a list: use one_of for one of several values")
            return ""
        scalar: Scalar = getattr(value, kind)
        return scalar

    def _time(self, value: catalog_pb2.AttributeValue, path: str) -> str:
        try:
            return str(value.time_value.ToJsonString())
        except ValueError:
            self._wrong(path, "is not a time between the years 1 and 9999")
            return ""

    def _wrong(self, path: str, description: str) -> None:
        self.faults.append(FieldViolation(path, description))
