"""Which rows of a base segment pass a predicate, or are available now: bitmaps, each evaluated once and kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

from neo_runtime.observability import metrics
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.rank import Words, packed
from neo_runtime.trie.windows import ALWAYS_US, Windows

MAX_KEPT = 64  # predicates, and regions: 1.25 MB each at ten million rows


class RowFilters:
    """Thread-safe. `prepared`: what the segment's file brings, kept for ever; the rest as long as it is asked for."""

    def __init__(self, columns: Columns, windows: Windows, prepared: Mapping[Predicate, Words]) -> None:
        self._columns, self._windows, self.prepared = columns, windows, dict(prepared)
        self._evaluated: OrderedDict[Predicate, Words] = OrderedDict()
        self._available: OrderedDict[str | None, tuple[Words, int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def words(self, predicate: Predicate) -> Words:
        """Bitmap of the rows that pass."""
        if predicate in self.prepared:
            return self.prepared[predicate]
        with self._lock:
            found = self._evaluated.pop(predicate, None)
            if found is None:
                started = time.perf_counter()
                found = packed(self._columns.select(predicate))
                metrics.FILTER_SECONDS.observe(time.perf_counter() - started)
            self._evaluated[predicate] = found
            _bound(self._evaluated)
            return found

    def available(self, now_us: int, region: str | None) -> Words | None:
        """Bitmap of the rows that may be shown now; None where nothing was ever said of any."""
        if not len(self._windows.fact_rows):
            return None
        with self._lock:
            words, since_us, until_us = self._available.pop(region, (None, 0, ALWAYS_US))
            if words is None or not since_us <= now_us < until_us:
                rows, until_us = self._windows.available(now_us, region)
                words, since_us = packed(rows), now_us
            self._available[region] = (words, since_us, until_us)
            _bound(self._available)
            return words


def _bound(kept: OrderedDict[Predicate, Words] | OrderedDict[str | None, tuple[Words, int, int]]) -> None:
    while len(kept) > MAX_KEPT:
        kept.popitem(last=False)
