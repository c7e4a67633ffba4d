"""Columns of many items' attributes, made attribute by attribute, and the parts of a long table joined to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_lines import Values
from neo_runtime.trie.column_tests import Kind
from neo_runtime.trie.columns import Column, Columns
from neo_runtime.trie.texts import Texts

_KINDS: dict[type, tuple[Kind, Any]] = {
    bool: ("bool", np.uint8), int: ("int", np.int64), float: ("float", np.float64), str: ("text", np.int32)
}  # fmt: skip


def columns_of(attributes: Iterable[Values], n: int) -> Columns:
    """What `Columns.of` makes of n rows' values that keep the rules."""
    parts: dict[tuple[str, type], tuple[list[Sequence[int]], list[list[Any]]]] = {}
    for name, rows, values in attributes:
        kinds = set(map(type, values))
        for kind in kinds:
            rows_of, values_of = parts.setdefault((name, kind), ([], []))
            if len(kinds) == 1:
                rows_of.append(rows)
                values_of.append(values)
            else:
                rows_of.append([row for row, value in zip(rows, values, strict=True) if type(value) is kind])
                values_of.append([value for value in values if type(value) is kind])
    columns: dict[tuple[str, Kind], Column] = {}
    for (name, kind), part in parts.items():
        filled, in_order = _in_row_order(*part)
        if kind is list:
            columns |= _list_columns(name, filled, in_order, n)
        else:
            columns[name, _KINDS[kind][0]] = _column(_KINDS[kind][1], filled, in_order, n)
    return Columns(n, columns)


def _in_row_order(rows_of: list[Sequence[int]], values_of: list[list[Any]]) -> tuple[NDArray[np.int32], list[Any]]:
    rows = np.concatenate([np.asarray(part, np.int32) for part in rows_of])
    values = values_of[0] if len(values_of) == 1 else list(chain.from_iterable(values_of))
    if len(rows_of) == 1:
        return rows, values
    order = np.argsort(rows, kind="stable")
    return rows[order], [values[i] for i in order.tolist()]


def _column(dtype: Any, rows: NDArray[np.int32], values: list[Any], n: int) -> Column:
    """One value a row."""
    kept = None if len(rows) == n else rows
    if dtype is not np.int32:
        return Column(kept, np.array(values, dtype))
    return Column(kept, *_numbered(values))


def _numbered(texts: list[str]) -> tuple[NDArray[np.int32], Texts]:
    distinct = sorted(set(texts))
    numbers = {text: number for number, text in enumerate(distinct)}
    return np.fromiter(map(numbers.__getitem__, texts), np.int32, len(texts)), Texts.of(distinct)


def _list_columns(
    name: str, rows: NDArray[np.int32], values: list[list[str]], n: int
) -> dict[tuple[str, Kind], Column]:
    lengths = np.fromiter(map(len, values), np.int32, len(values))
    found: dict[tuple[str, Kind], Column] = {}
    empty = rows[lengths == 0]
    if len(empty):
        found[name, "empty"] = Column(empty, np.zeros(len(empty), np.uint8))
    if len(empty) < len(rows):
        kept = None if len(rows) == n and bool((lengths == 1).all()) else np.repeat(rows, lengths)
        found[name, "list"] = Column(kept, *_numbered(list(chain.from_iterable(values))))
    return found


class Part(Protocol):
    """A table of rows that another one can stand behind."""

    def __len__(self) -> int: ...
    def concat(self, other: Self, /) -> Self: ...


P = TypeVar("P", bound=Part)


class Joined(Generic[P]):
    """Many parts, one behind the other, each of their rows copied a few times only: neighbours of like size first."""

    def __init__(self) -> None:
        self._parts: list[P] = []

    def add(self, part: P) -> None:
        self._parts.append(part)
        while len(self._parts) > 1 and len(self._parts[-2]) < 2 * len(self._parts[-1]):
            last = self._parts.pop()
            self._parts[-1] = self._parts[-1].concat(last)

    def whole(self, empty: P) -> P:
        """`empty` where there is none."""
        while len(self._parts) > 1:
            last = self._parts.pop()
            self._parts[-1] = self._parts[-1].concat(last)
        return self._parts.pop() if self._parts else empty


def flat(parts: Iterable[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """One behind the other."""
    return np.concatenate([np.empty(0, dtype), *parts])
