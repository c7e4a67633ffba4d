"""One test over all values of a column at once, exactly as `predicate.matches` has it for one value.

Integers and floats meet without a conversion that rounds: a bound is moved to the nearest value of the column's own
type that decides the same, once, before the values are compared.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.predicate import Equals, OneOf, Range, Scalar
from neo_runtime.trie.texts import Texts

Kind = Literal["bool", "int", "float", "text", "list", "empty"]
Values = NDArray[Any]
Hits = NDArray[np.bool_]


def hits(test: Equals | OneOf | Range, kind: Kind, values: Values, texts: Texts | None) -> Hits | None:
    """Which values pass: bool [m]. None: no value of this kind can."""
    if kind == "empty":
        return None
    if isinstance(test, Range):
        return _within(test, kind, values, texts)
    wanted = [test.value] if isinstance(test, Equals) else test.values
    found = {value for value in (_native(value, kind, texts) for value in wanted) if value is not None}
    if len(found) > 1 and texts is not None:
        return _table(sorted(found), len(texts))[values]
    if len(found) > 1:
        return np.isin(values, np.array(sorted(found), values.dtype))
    return np.equal(values, found.pop()) if found else None


def _native(value: Scalar, kind: Kind, texts: Texts | None) -> int | float | None:
    """The value as the column stores it; None: the column cannot hold it."""
    if isinstance(value, str):
        return None if texts is None else texts.find(value)
    if texts is not None or isinstance(value, bool) != (kind == "bool"):
        return None
    if kind == "float":
        nearest = float(value)
        return nearest if nearest == value else None
    return int(value) if value == int(value) and -(2**63) <= value < 2**63 else None


def _within(test: Range, kind: Kind, values: Values, texts: Texts | None) -> Hits | None:
    bounds = [bound for bound in (test.greater_or_equal, test.less) if bound is not None]
    if kind == "bool" or any(
        isinstance(bound, bool) or isinstance(bound, str) != (texts is not None) for bound in bounds
    ):
        return None
    low, high = (_first(bound, kind, texts) for bound in (test.greater_or_equal, test.less))
    if low is not None and high is not None:
        return (values >= low) & (values < high)
    return values >= low if low is not None else values < high if high is not None else np.ones(len(values), bool)


def _first(bound: Scalar | None, kind: Kind, texts: Texts | None) -> int | float | None:
    """The lowest value that the column could hold at or above `bound`: what is below the one is below the other."""
    if bound is None:
        return None
    if isinstance(bound, str):
        return None if texts is None else texts.place(bound)
    if kind == "int":
        return math.ceil(bound)
    nearest = float(bound)
    return nearest if nearest >= bound else math.nextafter(nearest, math.inf)


def _table(numbers: list[Any], size: int) -> Hits:
    table = np.zeros(size, bool)
    table[numbers] = True
    return table
