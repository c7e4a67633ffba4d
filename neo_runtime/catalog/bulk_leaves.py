"""What follows from the SIDs of a bulk load's items: the table of SIDs, the counts, and the base segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec
import numpy as np

from neo_runtime.catalog.bulk_type import TypeLoad, ids_at, texts_of
from neo_runtime.catalog.records import TypeStats
from neo_runtime.catalog.tables import sid_key
from neo_runtime.trie import Segment
from neo_runtime.trie.predicate import Predicate

_WRITTEN = 65_536  # SIDs at once

_encode = msgspec.msgpack.encode


class Leaves:
    """The live items of a type in the order of their SIDs, the best first on each."""

    def __init__(self, load: TypeLoad) -> None:
        """When the records of `load` are written: it forgets what these were made of."""
        self._codebook, self._rows = load.codebook, load.rows
        popularities = load.popularities()
        order = np.argsort(load.sids, kind="stable")
        self._sids = load.sids[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = self._sids[1:] != self._sids[:-1]
        if not is_first.all():
            order = np.lexsort((-popularities, load.sids))
        self._items, self._popularities = load.live[order], popularities[order]
        self._ids = ids_at(load.ids, self._items)
        self._starts = np.append(np.flatnonzero(is_first), len(order))
        load.forget()

    def stats(self) -> TypeStats:
        counts = np.diff(self._starts)
        return TypeStats(len(self._items), len(counts), int(counts[counts > 1].sum()))

    def bearers(self) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values of the table of SIDs, ascending."""
        prefix = sid_key(self._codebook.item_type, 0)[:-8]
        for first in range(0, len(self._starts) - 1, _WRITTEN):
            starts = self._starts[first : first + _WRITTEN + 1]
            begin, end = int(starts[0]), int(starts[-1])
            names = [text.decode() for text in texts_of(self._ids, begin, end)]
            all_bearers = list(zip(self._popularities[begin:end].tolist(), names, strict=True))
            keys = self._sids[starts[:-1]].astype(">u8").tobytes()
            places = (starts - begin).tolist()
            yield [
                (prefix + keys[8 * leaf : 8 * leaf + 8], _encode(all_bearers[a:b]))
                for leaf, (a, b) in enumerate(pairwise(places))
            ]

    def segment(self, named: Iterable[Predicate], *, canonical: bool) -> Segment:
        """`canonical`: only the best item of each SID."""
        items, ids, starts = self._items, self._ids, self._starts
        keys = self._sids[starts[:-1]]
        leaf_rows = None if len(keys) == len(items) or canonical else starts.astype(np.int32)
        if canonical:
            items, ids = items[starts[:-1]], ids_at(ids, starts[:-1])
        return Segment.build(self._codebook.space, keys, leaf_rows, self._rows(items, ids), named)
