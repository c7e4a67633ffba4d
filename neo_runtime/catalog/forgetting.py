"""Deleted items are remembered, so that events that come late do not bring them back, but not for ever: a catalog and
its changelog would grow with all that there ever was.

What counts is the time of the deletion, as for every event. So a log that is read long after it was written must be
read to its end first: its late events are as old as its deletions.
A few records are looked at in each turn, around and around: a large catalog costs no more at a time than a small one.
"""

from __future__ import annotations

import time
from itertools import islice

from neo_runtime.catalog.batch import Batch
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.tables import Transaction
from neo_runtime.types import ItemKey

KEEP_S = 7 * 86_400.0
EVERY_S = 1.0
LOOKED_AT = 1_000


class Forgetting:
    """Of one catalog. `publish`: followers of the changelog forget too."""

    def __init__(self, catalog: Catalog, keep_s: float, *, publish: bool = False) -> None:
        self._catalog, self._keep_us, self._publish = catalog, int(keep_s * 1e6), publish
        self._types = sorted(catalog.codebooks)
        self._at = ItemKey(self._types[0], "")
        self._next_at = time.monotonic() + EVERY_S

    def turn(self) -> None:
        """Where it is time for it, look at the next records."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        old, self._at = self._look()
        if not old:
            return

        def body(txn: Transaction) -> None:
            batch = Batch(txn, self._catalog.codebooks, self._catalog.policy, {}, publish=self._publish)
            for key in old:
                batch.forget(key)
            batch.finish()

        self._catalog.store.transact(body)

    def _look(self) -> tuple[list[ItemKey], ItemKey]:
        """Deletions older than what is kept, and where to look next."""
        oldest_us = time.time_ns() // 1_000 - self._keep_us
        item_type, after = self._at
        with self._catalog.store.read() as txn:
            rows = list(islice(txn.items(item_type, after), LOOKED_AT))
        old = [ItemKey(item_type, name) for name, record in rows if record.deleted and record.event_time_us < oldest_us]
        if len(rows) == LOOKED_AT:
            return old, ItemKey(item_type, rows[-1][0])
        following = self._types[(self._types.index(item_type) + 1) % len(self._types)]
        return old, ItemKey(following, "")
