"""What one batch reads and writes of the tables, each value once: a batch comes back to the same items and SIDs."""

from __future__ import annotations

from neo_runtime.catalog.item import ItemRecord
from neo_runtime.catalog.records import AvailabilityRecord
from neo_runtime.catalog.tables import Bearers, Transaction
from neo_runtime.types import ItemKey


class Buffered:
    """Over a write transaction, which sees what was put here only after `flush`."""

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self._items: dict[ItemKey, ItemRecord | None] = {}
        self._bearers: dict[tuple[str, int], Bearers] = {}
        self._said: dict[ItemKey, AvailabilityRecord | None] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._put_items: set[ItemKey] = set()
        self._put_bearers: set[tuple[str, int]] = set()
        self._says_nothing = not txn.entries("availability")

    def item(self, key: ItemKey) -> ItemRecord | None:
        if key not in self._items:
            self._items[key] = self._txn.item(key)
        return self._items[key]

    def put_item(self, key: ItemKey, record: ItemRecord | None) -> None:
        """None: no trace of it is left."""
        self._items[key] = record
        self._put_items.add(key)

    def bearers(self, item_type: str, sid: int) -> Bearers:
        leaf = (item_type, sid)
        if leaf not in self._bearers:
            self._bearers[leaf] = self._txn.bearers(item_type, sid)
        return self._bearers[leaf]

    def put_bearers(self, item_type: str, sid: int, bearers: Bearers) -> None:
        self._bearers[item_type, sid] = bearers
        self._put_bearers.add((item_type, sid))

    def availability(self, key: ItemKey) -> AvailabilityRecord | None:
        if self._says_nothing:
            return None
        if key not in self._said:
            self._said[key] = self._txn.availability(key)
        return self._said[key]

    def put_availability(self, key: ItemKey, record: AvailabilityRecord | None) -> None:
        """At once: the transaction keeps the order in which items are waited for."""
        self._txn.put_availability(key, record)
        self._said[key], self._says_nothing = record, False

    def offset(self, topic: str, partition: int) -> int:
        """The next offset as it was before the batch."""
        place = (topic, partition)
        if place not in self._offsets:
            self._offsets[place] = self._txn.offset(topic, partition)
        return self._offsets[place]

    def flush(self) -> None:
        """Write in key order: neighbours share pages."""
        for key in sorted(self._put_items):
            record = self._items[key]
            if record is None:
                self._txn.remove_item(key)
            else:
                self._txn.put_item(key, record)
        for item_type, sid in sorted(self._put_bearers):
            self._txn.put_bearers(item_type, sid, self._bearers[item_type, sid])
