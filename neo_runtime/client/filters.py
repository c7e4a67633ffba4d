"""Filter trees as messages. A filter is a `Predicate`, or its JSON form as a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neo_runtime.trie.predicate import (
    Clause,
    Equals,
    Exists,
    OneOf,
    Predicate,
    Range,
    Scalar,
    check,
)
from neo_runtime.trie.predicate_json import from_json
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1 import constraint_pb2 as pb

Where = Predicate | Mapping[str, Any]


def filter_message(where: Where | None) -> pb.Filter | None:
    """InvalidRequestError, before anything is sent, where the filter breaks a rule."""
    if where is None:
        return None
    if not isinstance(where, Predicate):
        where = from_json(where, "where")
    check(where, "where")
    return _filter(where)


def _filter(predicate: Predicate) -> pb.Filter:
    return pb.Filter(
        must=map(_condition, predicate.must),
        should=map(_condition, predicate.should),
        must_not=map(_condition, predicate.must_not),
    )


def _condition(clause: Clause) -> pb.Condition:
    if isinstance(clause, Predicate):
        return pb.Condition(nested=_filter(clause))
    message, test = pb.Condition(attribute=clause.attribute), clause.test
    match test:
        case Equals():
            message.equals.CopyFrom(_value(test.value))
        case OneOf():
            message.one_of.values.extend(map(_value, test.values))
        case Range():
            message.range.CopyFrom(_range(test))
        case Exists():
            message.exists = test.wanted
    return message


def _range(test: Range) -> pb.Condition.Range:
    bounds = (None if bound is None else _value(bound) for bound in (test.greater_or_equal, test.less))
    return pb.Condition.Range(**dict(zip(("greater_or_equal", "less"), bounds, strict=True)))


def _value(scalar: Scalar) -> catalog_pb2.AttributeValue:
    if isinstance(scalar, bool):
        return catalog_pb2.AttributeValue(bool_value=scalar)
    if isinstance(scalar, str):
        return catalog_pb2.AttributeValue(string_value=scalar)
    if isinstance(scalar, int):
        return catalog_pb2.AttributeValue(int_value=scalar)
    return catalog_pb2.AttributeValue(double_value=scalar)
