"""What was added or changed since a base segment was built: small, and made anew for every batch of changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.levels import Ints, Levels
from neo_runtime.trie.predicate import Predicate, matches
from neo_runtime.trie.rank import Words, packed
from neo_runtime.trie.rows import Leaf, Row
from neo_runtime.trie.windows import Windows

Verdicts = NDArray[np.bool_]
MAX_FOLLOWED = 32  # predicates whose verdicts move on from one delta to the next
_SPARE_ROWS = 4_096  # that nobody needs any more, before they are let go


class SharedRows:
    """Rows by their place in a list that successive deltas share: a change moves numbers, not objects. Immutable: what
    a delta adds to the end of the list, no other looks at. Deltas are made from one thread at a time.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, values: list[Row], places: Ints) -> None:
        self._values, self._places = values, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> Row:
        return self._values[int(self._places[row])]

    def __iter__(self) -> Iterator[Row]:
        return map(self._values.__getitem__, self._places.tolist())

    def gathered(self, order: Ints, rows: Sequence[Row]) -> SharedRows:
        """See `_gathered`."""
        start = len(self._values)
        self._values.extend(rows)
        places = _gathered(order, self._places, np.arange(start, start + len(rows), dtype=np.int32))
        gathered = SharedRows(self._values, places)
        if len(self._values) < 2 * len(places) + _SPARE_ROWS:
            return gathered
        return SharedRows(list(gathered), np.arange(len(places), dtype=np.int32))


class Delta:
    """Immutable, but for the verdicts that it remembers. `rows` are in leaf order; see Segment."""

    def __init__(
        self, levels: Levels, leaf_rows: Ints | None, rows: SharedRows, windows: Windows,
        verdicts: dict[Predicate, Verdicts],
    ) -> None:  # fmt: skip
        self.levels, self.leaf_rows, self.rows = levels, leaf_rows, rows
        self._windows, self._verdicts = windows, verdicts

    @classmethod
    def empty(cls, space: SidSpace, named: Iterable[Predicate] = ()) -> Delta:
        """`named` predicates are followed from the start: their bitmaps cost a request nothing."""
        verdicts = {predicate: np.empty(0, bool) for predicate in named}
        levels, rows = Levels.build(space, np.empty(0, np.uint64)), SharedRows([], np.empty(0, np.int32))
        return cls(levels, None, rows, Windows.none(0), verdicts)

    @property
    def keys(self) -> Keys:
        return self.levels.keys

    def __len__(self) -> int:
        """Leaves."""
        return len(self.levels)

    def row(self, place: int) -> Row:
        return self.rows[place]

    def row_id(self, place: int) -> str:
        return self.row(place).id

    def replaced(self, changed: Keys, leaves: Sequence[Leaf]) -> Delta:
        """With leaf i of `changed` (ascending) being `leaves[i]` from now on, gone where that is empty."""
        places = self.levels.find(changed)
        gone = places[places >= 0]
        kept = np.arange(len(self), dtype=np.int32)
        kept = np.delete(kept, gone) if len(gone) else kept
        new_leaves = [leaf for leaf in leaves if leaf]
        if not len(gone) and not new_leaves:
            return self
        new_keys = changed if len(new_leaves) == len(leaves) else changed[[bool(leaf) for leaf in leaves]]
        at = self.keys.searchsorted(new_keys)
        at -= gone.searchsorted(at)  # counted among the kept ones
        return self._arranged(_order(kept, at, len(self)), new_keys, new_leaves)

    def only(self, touched: Keys) -> Delta:
        """With those of its leaves alone that are among `touched` (ascending)."""
        places = self.levels.find(touched)
        return self._arranged(places[places >= 0].astype(np.int32), touched[:0], [])

    def _arranged(self, order: Ints, new_keys: Keys, new_leaves: Sequence[Leaf]) -> Delta:
        """The leaves `order`: numbers from len(self) on are those of `new_leaves`."""
        keys = _gathered(order, self.keys, new_keys)
        new_rows = [row for leaf in new_leaves for row in leaf]
        leaf_rows = None
        if self.leaf_rows is not None or len(new_rows) > len(new_leaves):
            counts = np.ones(len(self), np.int32) if self.leaf_rows is None else np.diff(self.leaf_rows)
            counts = np.concatenate([counts, np.fromiter(map(len, new_leaves), np.int32, len(new_leaves))])
            starts, leaf_rows = _starts(counts)[order], _starts(counts[order])
            order = runs(starts, starts + counts[order])
        verdicts = {
            predicate: _gathered(order, old, np.array([matches(predicate, row.attributes) for row in new_rows], bool))
            for predicate, old in list(self._verdicts.items())[-MAX_FOLLOWED:]
        }
        windows = Windows.none(len(order))
        if len(self._windows.fact_rows) or any(row.windows is not None for row in new_rows):
            windows = self._windows.concat(Windows.of(row.windows for row in new_rows)).take(order)
        levels = Levels.build(self.levels.space, keys)
        return Delta(levels, leaf_rows, self.rows.gathered(order, new_rows), windows, verdicts)

    def words(self, predicate: Predicate) -> Words:
        """Bitmap of the rows that pass."""
        verdicts = self._verdicts.get(predicate)
        if verdicts is None:
            verdicts = np.fromiter((matches(predicate, row.attributes) for row in self.rows), bool, len(self.rows))
            self._verdicts[predicate] = verdicts
        return packed(verdicts)

    def available(self, now_us: int, region: str | None) -> Words | None:
        """Bitmap of the rows that may be shown now; None where nothing was ever said of any."""
        if not len(self._windows.fact_rows):
            return None
        return packed(self._windows.available(now_us, region))


def _order(kept: Ints, at: NDArray[np.integer], n: int) -> Ints:
    """The numbers `kept` with n, n + 1 … put before the ones at the places `at` (ascending)."""
    order = np.empty(len(kept) + len(at), np.int32)
    is_old = np.ones(len(order), bool)
    slots = at + np.arange(len(at))
    is_old[slots] = False
    order[is_old], order[slots] = kept, np.arange(n, n + len(at), dtype=np.int32)
    return order


def _gathered(order: Ints, old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Both as one array, in this order."""
    return np.concatenate([old, new])[order]


def runs(starts: Ints, ends: Ints) -> Ints:
    """All numbers of all runs, run by run."""
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    numbers: Ints = np.arange(lengths.sum(), dtype=np.int32) + np.repeat(starts - before, lengths).astype(np.int32)
    return numbers


def _starts(counts: NDArray[np.integer]) -> Ints:
    """Where each run begins, and the last one's end."""
    starts = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=starts[1:])
    return starts
