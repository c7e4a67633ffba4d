"""The attributes of many items as arrays: what a filter is evaluated over, saved in a segment and memory-mapped back.

One column per attribute and kind of value. A column holds (row, value) pairs in row order, several for a list; where
every row has exactly one value the row numbers are left out. An attribute whose kind differs between items has
several columns. An empty list has a column of its own: nothing matches it, but it is there. Immutable.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.column_tests import Kind, Values, hits
from neo_runtime.trie.predicate import Clause, Condition, Exists, Predicate
from neo_runtime.trie.sparse import Rows, Selection, destinations, mark, moved
from neo_runtime.trie.texts import Texts
from neo_runtime.types import Attribute

Mask = NDArray[np.bool_]

_TYPE_CODES: dict[Kind, str] = {"bool": "B", "int": "q", "float": "d", "text": "i", "list": "i", "empty": "B"}
_TABLE_OF_CONTENTS = "columns"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of one kind with their rows, ascending; `rows` None: one value for every row.

    `values` int64, float64, uint8 (booleans, and zeros for empty lists) or int32 (numbers of `texts`).
    """

    rows: Rows | None
    values: Values
    texts: Texts | None = None

    def nbytes(self) -> int:
        rows = 0 if self.rows is None else self.rows.nbytes
        return rows + self.values.nbytes + (0 if self.texts is None else self.texts.nbytes())

    def rows_where(self, hit: Mask, n: int) -> Mask:
        """The rows of the values that are hit: bool [n]."""
        return hit if self.rows is None else mark(n, self.rows[np.flatnonzero(hit)])

    def present(self, n: int) -> Mask:
        return np.ones(n, bool) if self.rows is None else mark(n, self.rows)

    def take(self, selection: Selection, places: Rows) -> Column:
        if self.rows is None:
            rows, values = None, self.values[selection]
        else:
            rows, source = moved(self.rows, places)
            values = self.values if source is None else self.values[source]
            rows = _unless_dense(rows, len(selection))
        if self.texts is None:
            return Column(rows, values)
        texts, values = self.texts.used(values)
        return Column(rows, values, texts)

    def concat(self, other: Column, n: int, other_n: int) -> Column:
        """This column of n rows with `other`'s rows behind it."""
        values, other_values, texts = self.values, other.values, None
        if self.texts is not None and other.texts is not None:
            texts, mine, others = self.texts.union(other.texts)
            values, other_values = mine[values], others[other_values]
        is_dense = self.rows is None and other.rows is None
        rows = None if is_dense else np.concatenate([self._rows(), other._rows() + np.int32(n)])
        return Column(rows, np.concatenate([values, other_values]), texts)

    def _rows(self) -> Rows:
        return np.arange(len(self.values), dtype=np.int32) if self.rows is None else self.rows

    def shifted(self, before: int, after: int) -> Column:
        """The same with rows without a value before and behind."""
        return self if not before + after else Column(self._rows() + np.int32(before), self.values, self.texts)

    def of_row(self, row: int) -> list[str | int | float]:
        begin, end = (row, row + 1) if self.rows is None else np.searchsorted(self.rows, [row, row + 1])
        found = self.values[begin:end].tolist()
        return found if self.texts is None else [self.texts[number] for number in found]


Key = tuple[str, Kind]  # attribute and kind


class Columns:
    """The attributes of n rows."""

    def __init__(self, n: int, columns: Mapping[Key, Column]) -> None:
        self.n, self._columns = n, dict(sorted((key, column) for key, column in columns.items() if len(column.values)))
        self._of_attribute: dict[str, list[tuple[Kind, Column]]] = {}
        for (attribute, kind), column in self._columns.items():
            self._of_attribute.setdefault(attribute, []).append((kind, column))

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Attribute]]) -> Columns:
        """Reads `rows` once and keeps none of them: a generator over millions is fine."""
        builders: dict[Key, _Builder] = {}
        n = 0
        for n, attributes in enumerate(rows, 1):
            for attribute, value in attributes.items():
                key = (attribute, _kind(value))
                builder = builders.get(key)
                if builder is None:
                    builder = builders[key] = _Builder(key[1])
                builder.add(n - 1, value)
        return cls(n, {key: builder.build(n) for key, builder in builders.items()})

    def __len__(self) -> int:
        return self.n

    def nbytes(self) -> int:
        return sum(column.nbytes() for column in self._columns.values())

    def select(self, predicate: Predicate) -> Mask:
        """The rows that `predicate.matches` holds for: bool [n]."""
        selected = np.ones(self.n, bool)
        for clause in predicate.must:
            selected &= self._select(clause)
        if predicate.should:
            some = np.zeros(self.n, bool)
            for clause in predicate.should:
                some |= self._select(clause)
            selected &= some
        for clause in predicate.must_not:
            selected &= ~self._select(clause)
        return selected

    def _select(self, clause: Clause) -> Mask:
        if isinstance(clause, Predicate):
            return self.select(clause)
        wants_absent = isinstance(clause.test, Exists) and not clause.test.wanted
        found = np.zeros(self.n, bool)
        for rows in self._matching_rows(clause):
            found |= rows
        return ~found if wants_absent else found

    def _matching_rows(self, condition: Condition) -> Iterator[Mask]:
        for kind, column in self._of_attribute.get(condition.attribute, ()):
            if isinstance(condition.test, Exists):
                yield column.present(self.n)
            else:
                hit = hits(condition.test, kind, column.values, column.texts)
                if hit is not None:
                    yield column.rows_where(hit, self.n)

    def take(self, rows: Selection) -> Columns:
        """Only `rows`, each at most once, in their order. One column at a time is copied."""
        places = destinations(rows, self.n)
        return Columns(len(rows), {key: column.take(rows, places) for key, column in self._columns.items()})

    def concat(self, other: Columns) -> Columns:
        """These rows, then the other's."""
        joined: dict[Key, Column] = {}
        for key in self._columns.keys() | other._columns.keys():
            mine, others = self._columns.get(key), other._columns.get(key)
            if mine is None:
                joined[key] = other._columns[key].shifted(self.n, 0)
            elif others is None:
                joined[key] = mine.shifted(0, other.n)
            else:
                joined[key] = mine.concat(others, self.n, other.n)
        return Columns(self.n + other.n, joined)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but n as arrays by name, what `from_arrays` reads."""
        names = json.dumps(list(self._columns)).encode("ascii")
        found: dict[str, NDArray[Any]] = {_TABLE_OF_CONTENTS: np.frombuffer(names, np.uint8)}
        for number, column in enumerate(self._columns.values()):
            found[f"{number}.values"] = column.values
            if column.rows is not None:
                found[f"{number}.rows"] = column.rows
            if column.texts is not None:
                found[f"{number}.offsets"], found[f"{number}.blob"] = column.texts.offsets, column.texts.blob
        return found

    @classmethod
    def from_arrays(cls, n: int, arrays: Mapping[str, NDArray[Any]]) -> Columns:
        """`arrays` may be memory-mapped; none is copied. ValueError or LookupError where they do not fit together."""
        columns: dict[Key, Column] = {}
        for number, (attribute, kind) in enumerate(json.loads(arrays[_TABLE_OF_CONTENTS].tobytes())):
            values, rows, texts = arrays[f"{number}.values"], arrays.get(f"{number}.rows"), None
            if _TYPE_CODES[kind] == "i":
                texts = Texts(arrays[f"{number}.offsets"], arrays[f"{number}.blob"])
            if len(values) != (n if rows is None else len(rows)):
                raise ValueError(f"the column of attribute {attribute!r} has {len(values)} values")
            columns[attribute, kind] = Column(rows, values, texts)
        return cls(n, columns)

    def row(self, row: int) -> dict[str, Attribute]:
        """What the row was made of."""
        found: dict[str, Attribute] = {}
        for (attribute, kind), column in self._columns.items():
            values = column.of_row(row)
            if values:
                found[attribute] = _attribute(kind, values)
        return found


class _Builder:
    """One column, value by value, in compact buffers; texts get numbers as they come and are sorted at the end."""

    def __init__(self, kind: Kind) -> None:
        self._kind, self._rows = kind, array("i")
        self._values: array[Any] = array(_TYPE_CODES[kind])
        self._numbers: dict[str, int] = {}

    def add(self, row: int, value: Attribute) -> None:
        if isinstance(value, list):
            self._rows.extend([row] * max(1, len(value)))
            self._values.extend([self._number(text) for text in value] or [0])
            return
        self._rows.append(row)
        self._values.append(self._number(value) if isinstance(value, str) else value)

    def _number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def build(self, n: int) -> Column:
        rows, values = _unless_dense(np.frombuffer(self._rows, np.int32), n), np.frombuffer(self._values, self._dtype)
        if self._dtype != np.int32:
            return Column(rows, values)
        ordered = sorted(self._numbers)
        sorted_number = np.empty(len(ordered), np.int32)
        sorted_number[[self._numbers[text] for text in ordered]] = np.arange(len(ordered), dtype=np.int32)
        return Column(rows, sorted_number[values], Texts.of(ordered))

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(_TYPE_CODES[self._kind])


def _kind(value: Attribute) -> Kind:
    if isinstance(value, list):
        return "list" if value else "empty"
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "int" if isinstance(value, int) else "float"


def _attribute(kind: Kind, values: list[Any]) -> Attribute:
    if kind == "list":
        return values
    if kind == "empty":
        return []
    value: Attribute = bool(values[0]) if kind == "bool" else values[0]
    return value


def _unless_dense(rows: Rows, n: int) -> Rows | None:
    """None where the n rows have one value each."""
    return None if len(rows) == n and bool((rows[1:] > rows[:-1]).all()) else rows
