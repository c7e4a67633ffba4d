"""When and where items may be shown: availability windows, a fact of their own beside an item's attributes.

An item about which nothing was said is available. An item with the fact is available inside its windows only; with
no window, nowhere. A window that names regions is a licence for these and nothing else: a request that names no
region does not see what only such windows allow, since nobody knows that its user is where the rights are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.sparse import Rows, Selection, destinations, mark, moved

ALWAYS_US, NEVER_US = -(2**63), 2**63 - 1  # a start, and an end or a change, that no clock reaches

Territory = tuple[str, ...]  # distinct regions, ascending; none: everywhere


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_us` on and before `end_us`; None: no bound on that side. No regions: everywhere."""

    start_us: int | None = None
    end_us: int | None = None
    regions: tuple[str, ...] = ()

    def applies(self, region: str | None) -> bool:
        return not self.regions or region in self.regions

    def is_open(self, now_us: int) -> bool:
        return (self.start_us is None or self.start_us <= now_us) and (self.end_us is None or now_us < self.end_us)


Availability = Sequence[Window] | None  # None: no fact


def is_available(windows: Availability, now_us: int, region: str | None) -> bool:
    """Whether an item may be shown now to a request from `region`; None: from nowhere in particular."""
    return windows is None or any(window.applies(region) and window.is_open(now_us) for window in windows)


class _Arrays(NamedTuple):
    """Of the windows: their item's row, ascending; bounds; number of their territory. int32, int64, int64, int32."""

    rows: NDArray[Any]
    starts: NDArray[Any]
    ends: NDArray[Any]
    territories: NDArray[Any]


_DTYPES = (np.int32, np.int64, np.int64, np.int32)
_NO_WINDOWS = _Arrays(*(np.empty(0, dtype) for dtype in _DTYPES))


class Edges(NamedTuple):
    """int64 and int32, as long as each other."""

    times: NDArray[Any]
    rows: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Windows:
    """The availability of n rows: the rows with the fact, and all windows. Immutable."""

    n: int
    fact_rows: Rows
    windows: _Arrays
    territories: tuple[Territory, ...] = field(default=())

    @classmethod
    def of(cls, items: Iterable[Availability]) -> Windows:
        """Reads `items` once and keeps none of them."""
        n, fact_rows, rows, starts, ends, numbers = 0, [], [], [], [], []
        territories: dict[Territory, int] = {}
        for row, windows in enumerate(items):
            n = row + 1
            if windows is None:
                continue
            fact_rows.append(row)
            for window in windows:
                territory = tuple(sorted(set(window.regions)))
                rows.append(row)
                starts.append(ALWAYS_US if window.start_us is None else window.start_us)
                ends.append(NEVER_US if window.end_us is None else window.end_us)
                numbers.append(territories.setdefault(territory, len(territories)))
        arrays = _Arrays(*map(np.array, (rows, starts, ends, numbers), _DTYPES))
        return cls(n, np.array(fact_rows, np.int32), arrays, tuple(territories))

    @classmethod
    def none(cls, n: int) -> Windows:
        """Of n rows without the fact."""
        return cls(n, _NO_WINDOWS.rows, _NO_WINDOWS)

    def __len__(self) -> int:
        return self.n

    def nbytes(self) -> int:
        return self.fact_rows.nbytes + sum(array.nbytes for array in self.windows)

    @cached_property
    def edges(self) -> Edges:
        """Every instant at which a window opens or closes, ascending, with its row."""
        rows, starts, ends, _ = self.windows
        begins, stops = np.flatnonzero(starts != ALWAYS_US), np.flatnonzero(ends != NEVER_US)
        times = np.concatenate([starts[begins], ends[stops]])
        order = np.argsort(times, kind="stable")
        return Edges(times[order], np.concatenate([rows[begins], rows[stops]])[order])

    def available(self, now_us: int, region: str | None) -> NDArray[np.bool_]:
        """`is_available` of every row: bool [n]."""
        found = np.ones(self.n, bool)
        found[self.fact_rows] = False
        found[self.windows.rows[self._open(slice(None), now_us, region)]] = True
        return found

    def available_rows(self, rows: Rows, now_us: int, region: str | None) -> NDArray[np.bool_]:
        """The same of a few rows with the fact: bool [len(rows)]."""
        begins, stops = np.searchsorted(self.windows.rows, rows), np.searchsorted(self.windows.rows, rows, "right")
        counts = stops - begins
        windows = np.arange(counts.sum()) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
        found = np.zeros(len(rows), bool)
        found[np.repeat(np.arange(len(rows)), counts)[self._open(windows, now_us, region)]] = True
        return found

    def changed_rows(self, since_us: int, now_us: int) -> Rows:
        """Rows, ascending, that may be available at one of two instants and not at the other."""
        first, last = self.edges.times.searchsorted(sorted((since_us, now_us)), "right")
        return np.unique(self.edges.rows[first:last])

    def _open(self, windows: NDArray[np.integer] | slice, now_us: int, region: str | None) -> NDArray[np.intp]:
        """Those of `windows`, counted among them, that are open and apply."""
        applies = np.array([not regions or region in regions for regions in self.territories], bool)
        _, starts, ends, territories = self.windows
        is_open = (starts[windows] <= now_us) & (now_us < ends[windows])
        return np.flatnonzero(applies[territories[windows]] & is_open)

    def take(self, rows: Selection) -> Windows:
        """Only `rows`, each at most once, in their order."""
        places = destinations(rows, self.n)
        fact_rows, _ = moved(self.fact_rows, places)
        window_rows, source = moved(self.windows.rows, places)
        windows = self.windows if source is None else _Arrays(*(array[source] for array in self.windows))
        in_use = np.flatnonzero(mark(len(self.territories), windows.territories))
        renumbered = destinations(in_use, len(self.territories))[windows.territories]
        territories = tuple(self.territories[number] for number in in_use)
        return Windows(len(rows), fact_rows, windows._replace(rows=window_rows, territories=renumbered), territories)

    def concat(self, other: Windows) -> Windows:
        """These rows, then the other's."""
        numbers = {territory: number for number, territory in enumerate(self.territories)}
        theirs = np.array([numbers.setdefault(regions, len(numbers)) for regions in other.territories], np.int32)
        moved_on = other.windows._replace(
            rows=other.windows.rows + np.int32(self.n), territories=theirs[other.windows.territories]
        )
        return Windows(
            self.n + other.n,
            np.concatenate([self.fact_rows, other.fact_rows + np.int32(self.n)]),
            _Arrays(*(np.concatenate([mine, others]) for mine, others in zip(self.windows, moved_on, strict=True))),
            tuple(numbers),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but n as arrays by name, what `from_arrays` reads."""
        territories = np.frombuffer(json.dumps(self.territories).encode("ascii"), np.uint8)
        window_arrays = {f"window_{name}": array for name, array in self.windows._asdict().items()}
        edges = {f"edge_{name}": array for name, array in self.edges._asdict().items()}
        return {"fact_rows": self.fact_rows, "regions": territories, **window_arrays, **edges}

    @classmethod
    def from_arrays(cls, n: int, arrays: Mapping[str, NDArray[Any]]) -> Windows:
        """`arrays` may be memory-mapped; none is copied. ValueError or LookupError where they do not fit together."""
        found = _Arrays(*(arrays[f"window_{name}"] for name in _Arrays._fields))
        if len({len(array) for array in found}) > 1:
            raise ValueError("the arrays of availability windows differ in length")
        territories = tuple(map(tuple, json.loads(arrays["regions"].tobytes())))
        loaded = cls(n, arrays["fact_rows"], found, territories)
        loaded.__dict__["edges"] = Edges(arrays["edge_times"], arrays["edge_rows"])  # sorted when they were saved
        return loaded

    def row(self, row: int) -> tuple[Window, ...] | None:
        """What the row was made of, the regions of each window in ascending order."""
        if not np.isin(row, self.fact_rows):
            return None
        begin, end = np.searchsorted(self.windows.rows, [row, row + 1])
        return tuple(
            Window(
                None if start == ALWAYS_US else int(start), None if stop == NEVER_US else int(stop), self.territories[t]
            )
            for _, start, stop, t in zip(*(array[begin:end] for array in self.windows), strict=True)
        )
