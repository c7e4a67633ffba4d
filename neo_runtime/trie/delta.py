"""What was added or changed since a base segment was built: small, and made anew for every batch of changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

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


class Changes(NamedTuple):
    """Packed SID `keys[i]` (ascending) has `counts[i]` of the `rows` from now on; with none it is gone."""

    keys: Keys
    counts: Ints
    rows: Sequence[Row]

    @classmethod
    def of(cls, leaves: Mapping[int, Leaf]) -> Changes:
        """Packed SID to the rows on it from now on."""
        keys = sorted(leaves)
        parts = [leaves[key] for key in keys]
        counts = np.fromiter(map(len, parts), np.int32, len(parts))
        return cls(np.array(keys, np.uint64), counts, list(chain.from_iterable(parts)))


class SharedRows:
    """Rows by their place in a list that successive deltas share: a change moves numbers, not objects. Immutable: what
    a delta adds to the end of the list, those before it do not look at. Deltas are made from one thread at a time.
    """

    __slots__ = ("_end", "_places", "_values")

    def __init__(self, values: list[Row], places: Ints) -> None:
        self._values, self._places, self._end = values, places, len(values)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> Row:
        return self._values[int(self._places[row])]

    def __iter__(self) -> Iterator[Row]:
        return map(self._values.__getitem__, self._places.tolist())

    def gathered(self, order: Ints, rows: Sequence[Row]) -> SharedRows:
        """See `_gathered`."""
        values, places = self._values, self._places
        # Another delta was made from this one before, or most of the list is of rows that are gone.
        if len(values) != self._end or len(values) > 2 * len(self) + _SPARE_ROWS:
            values, places = list(self), np.arange(len(self), dtype=np.int32)
        start = len(values)
        values.extend(rows)
        return SharedRows(values, _gathered(order, places, np.arange(start, len(values), dtype=np.int32)))


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

    def replaced(self, changes: Changes) -> Delta:
        """With the leaves that `changes` names as they are from now on."""
        places = self.levels.find(changes.keys)
        gone = places[places >= 0]
        stays = changes.counts > 0
        if not len(gone) and not stays.any():
            return self
        kept = np.arange(len(self), dtype=np.int32)
        kept = np.delete(kept, gone) if len(gone) else kept
        new = changes._replace(keys=changes.keys[stays], counts=changes.counts[stays])
        at = self.keys.searchsorted(new.keys)
        at -= gone.searchsorted(at)  # counted among the kept ones
        return self._arranged(_order(kept, at, len(self)), new)

    def only(self, touched: Keys) -> Delta:
        """With those of its leaves alone that are among `touched` (ascending)."""
        places = self.levels.find(touched)
        return self._arranged(places[places >= 0].astype(np.int32), Changes.of({}))

    def _arranged(self, order: Ints, new: Changes) -> Delta:
        """The leaves `order`: numbers from len(self) on are those of `new`, of which none is empty."""
        keys, leaf_rows = _gathered(order, self.keys, new.keys), None
        if self.leaf_rows is not None or len(new.rows) > len(new.keys):
            counts = np.ones(len(self), np.int32) if self.leaf_rows is None else np.diff(self.leaf_rows)
            counts = np.concatenate([counts, new.counts])
            starts, leaf_rows = _starts(counts)[order], _starts(counts[order])
            order = runs(starts, starts + counts[order])
        verdicts = {
            predicate: _gathered(order, old, np.array([matches(predicate, row.attributes) for row in new.rows], bool))
            for predicate, old in list(self._verdicts.items())[-MAX_FOLLOWED:]
        }
        windows, said = Windows.none(len(order)), list(map(attrgetter("windows"), new.rows))
        if len(self._windows.fact_rows) or said.count(None) < len(said):
            windows = self._windows.concat(Windows.of(said)).take(order)
        levels = Levels.build(self.levels.space, keys)
        return Delta(levels, leaf_rows, self.rows.gathered(order, new.rows), windows, verdicts)

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
