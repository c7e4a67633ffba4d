"""Conditions as a person types them: `year>=1990`, `genres=war,crime`, `title!="Dune"`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import typer

from neo_runtime.errors import InvalidRequestError
from neo_runtime.trie.predicate import Condition, Equals, OneOf, Predicate, Range, Scalar
from neo_runtime.trie.predicate_json import from_json

_CONDITION = re.compile(r"\s*([^=<>!\"]*[^=<>!\"\s])\s*(>=|!=|<|=)(?!=)(.*)", re.DOTALL)
_VALUE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^",]*)\s*(,|$)', re.DOTALL)
_HOW = 'write NAME=VALUE, NAME!=VALUE, NAME>=VALUE or NAME<VALUE, as in year>=1990, genres=war,crime or title="Dune, 2"'


def parse_where(text: str) -> Predicate:
    """One condition; `=` takes several values, any of which may match. `!=` lets items without the attribute pass."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no condition: {_HOW}")
    attribute, operator = found[1], found[2]
    values = _values(found[3], text)
    if operator in ("=", "!="):
        condition = Condition(attribute, Equals(values[0]) if len(values) == 1 else OneOf(tuple(values)))
        return Predicate(must=(condition,)) if operator == "=" else Predicate(must_not=(condition,))
    if len(values) > 1:
        raise typer.BadParameter(f"{text!r} has several values, which only = and != take")
    test = Range(values[0]) if operator == ">=" else Range(less=values[0])
    return Predicate(must=(Condition(attribute, test),))


def parse_filter(text: str) -> Predicate:
    """A whole filter tree as JSON."""
    try:
        return from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {error}") from error
    except InvalidRequestError as error:
        raise typer.BadParameter(str(error)) from error


def together(where: Sequence[Predicate], tree: Predicate | None) -> Predicate | None:
    """All conditions, and the tree too; None: nothing was asked for."""
    must = [clause for condition in where for clause in condition.must]
    must_not = [clause for condition in where for clause in condition.must_not]
    if tree is not None and tree != Predicate():
        must.append(tree)
    return Predicate(tuple(must), (), tuple(must_not)) if must or must_not else None


def _values(text: str, whole: str) -> list[Scalar]:
    values, place, more = [], 0, True
    while more:
        found = _VALUE.match(text, place)
        if found is None or not found[1].strip():
            raise typer.BadParameter(f"{whole!r} has a value that is missing or half quoted: {_HOW}")
        values.append(_scalar(found[1].strip()))
        place, more = found.end(), found[2] == ","
    return values


def _scalar(text: str) -> Scalar:
    """Quoted: a text. true, false or a number stand for themselves; everything else is a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) else text
