"""Which rows of a base segment pass a predicate, or are available now: bitmaps, each evaluated once and kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

from neo_runtime.observability import metrics
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.rank import Words, only, packed, without
from neo_runtime.trie.windows import Windows

MAX_KEPT = 64  # predicates, and regions: 1.25 MB each at ten million rows


class RowFilters:
    """Thread-safe. `prepared`: what the segment's file brings, kept for ever; the rest as long as it is asked for."""

    def __init__(self, columns: Columns, windows: Windows, prepared: Mapping[Predicate, Words]) -> None:
        self._columns, self._windows, self.prepared = columns, windows, dict(prepared)
        self._evaluated: OrderedDict[Predicate, Words] = OrderedDict()
        self._available: OrderedDict[str | None, tuple[Words, int]] = OrderedDict()
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
            words, at_us = self._available.pop(region, (None, 0))
            words = self._evaluated_at(now_us, region) if words is None else self._moved(words, at_us, now_us, region)
            self._available[region] = (words, now_us)
            _bound(self._available)
            return words

    def _evaluated_at(self, now_us: int, region: str | None) -> Words:
        return packed(self._windows.available(now_us, region))

    def _moved(self, words: Words, at_us: int, now_us: int, region: str | None) -> Words:
        """The bitmap of another instant: only rows whose windows opened or closed between are looked at."""
        rows = self._windows.changed_rows(at_us, now_us)
        if len(rows) > len(self._windows) // 8:
            return self._evaluated_at(now_us, region)
        if not len(rows):
            return words
        available = self._windows.available_rows(rows, now_us, region)
        return without(words.copy(), rows) | only(rows[available], len(self._windows))


def _bound(kept: OrderedDict[Predicate, Words] | OrderedDict[str | None, tuple[Words, int]]) -> None:
    while len(kept) > MAX_KEPT:
        kept.popitem(last=False)
