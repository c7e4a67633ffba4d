"""The tables of one catalog, as typed values inside one LMDB transaction.

| table        | key                     | value                                     |
|--------------|-------------------------|-------------------------------------------|
| meta         | description state base  | records.Description, State, Base; under `lag` [PartitionLag …]          |
| items        | type NUL id             | item.ItemRecord                           |
| sid_items    | type NUL SID (8 bytes)  | [[popularity, id] …], best first          |
| availability | type NUL id             | records.AvailabilityRecord                |
| waiting      | since (8), type NUL id  | nothing: availability of items to come    |
| log          | generation (8 bytes)    | {type: [[SID, [trie.Row …]] …]}           |
| offsets      | topic NUL partition (4) | next offset (8 bytes)                     |
| outbox       | number (8 bytes)        | records.Assignment or DeadLetter          |
| dead_letters | number (8 bytes)        | records.DeadLetter                        |

Numbers are big-endian, so key order is numeric order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, TypeVar

import msgspec

from neo_runtime.catalog.item import ItemRecord, Placement
from neo_runtime.catalog.records import AvailabilityRecord, Base, DeadLetter, Description, Outgoing, PartitionLag, State
from neo_runtime.errors import CatalogError
from neo_runtime.trie import Leaf
from neo_runtime.types import ItemKey

TABLES = ("meta", "items", "sid_items", "availability", "waiting", "log", "offsets", "outbox", "dead_letters")

T = TypeVar("T")
Bearers = list[tuple[float, str]]
"""Items on one SID, best first: (popularity, id)."""
LogEntry = dict[str, list[tuple[int, Leaf]]]
"""Type to the SIDs that changed, each with its rows from then on, best first; none: the SID is gone."""

_encode = msgspec.msgpack.encode
_decode_log = msgspec.msgpack.Decoder(LogEntry).decode  # made once: msgspec would look into the type every time


class _Place(msgspec.Struct, array_like=True):
    """The beginning of an ItemRecord, up to what tells where the item is."""

    title: msgspec.Raw
    description: msgspec.Raw
    attributes: msgspec.Raw
    popularity: msgspec.Raw
    event_time_us: msgspec.Raw
    deleted: bool
    sid_key: int


_decode_place = msgspec.msgpack.Decoder(_Place).decode


class Transaction:
    """Typed access to the tables inside one LMDB transaction."""

    def __init__(self, txn: Any, tables: dict[str, Any]) -> None:
        self._txn, self._tables = txn, tables

    def _get(self, table: str, key: bytes, kind: type[T]) -> T | None:
        value = self._txn.get(key, db=self._tables[table])
        return None if value is None else msgspec.msgpack.decode(value, type=kind)

    def _put(self, table: str, key: bytes, value: object) -> None:
        self._txn.put(key, _encode(value), db=self._tables[table])

    def _delete(self, table: str, key: bytes) -> None:
        self._txn.delete(key, db=self._tables[table])

    def _scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if cursor.set_range(start):
                yield from cursor.iternext()

    def description(self) -> Description:
        found = self._get("meta", b"description", Description) if self.has("meta") else None
        if found is None:
            raise CatalogError(
                "the catalog has no description: it is being made, or never was made whole; try again in a moment, "
                "or remove its folder and load it again"
            )
        return found

    def is_described(self) -> bool:
        """Whether the catalog was made whole: the description is the last thing that making one writes."""
        return self._get("meta", b"description", Description) is not None

    def put_description(self, description: Description) -> None:
        self._put("meta", b"description", description)

    def state(self) -> State:
        return self._get("meta", b"state", State) or State()

    def put_state(self, state: State) -> None:
        self._put("meta", b"state", state)

    def lag(self) -> list[PartitionLag]:
        """As the catalog worker last saw it."""
        return self._get("meta", b"lag", list[PartitionLag]) or []

    def put_lag(self, lag: list[PartitionLag]) -> None:
        self._put("meta", b"lag", lag)

    def base(self) -> Base | None:
        return self._get("meta", b"base", Base)

    def put_base(self, base: Base) -> None:
        self._put("meta", b"base", base)

    def remove_base(self) -> None:
        self._delete("meta", b"base")

    def item(self, key: ItemKey) -> ItemRecord | None:
        return self._get("items", item_key(key), ItemRecord)

    def live_sid(self, key: ItemKey) -> int | None:
        """The packed SID of an item, None where there is no such item; the rest of the record is passed over."""
        value = self._txn.get(item_key(key), db=self._tables["items"])
        place = None if value is None else _decode_place(value)
        return None if place is None or place.deleted else place.sid_key

    def put_item(self, key: ItemKey, record: ItemRecord) -> None:
        self._put("items", item_key(key), record)

    def remove_item(self, key: ItemKey) -> None:
        self._delete("items", item_key(key))

    def items(self, item_type: str, after: str = "") -> Iterator[tuple[str, ItemRecord]]:
        """Every record of a type, deleted ones included, by id; those of ids beyond `after`."""
        for item_id, value in self._of_type("items", item_type, after):
            yield item_id, msgspec.msgpack.decode(value, type=ItemRecord)

    def placements(self, item_type: str, after: str = "") -> Iterator[tuple[str, Placement]]:
        """Where every item of a type is, deleted ones included, by id; those of ids beyond `after`."""
        decode = msgspec.msgpack.Decoder(Placement).decode
        for item_id, value in self._of_type("items", item_type, after):
            yield item_id, decode(value)

    def _of_type(self, table: str, item_type: str, after: str = "") -> Iterator[tuple[str, bytes]]:
        prefix = item_type.encode() + b"\0"
        for key, value in self._scan(table, prefix + after.encode() + b"\0" if after else prefix):
            if not key.startswith(prefix):
                return
            yield key[len(prefix) :].decode(), value

    def bearers(self, item_type: str, sid: int) -> Bearers:
        return self._get("sid_items", sid_key(item_type, sid), Bearers) or []

    def put_bearers(self, item_type: str, sid: int, bearers: Bearers) -> None:
        if bearers:
            self._put("sid_items", sid_key(item_type, sid), bearers)
        else:
            self._delete("sid_items", sid_key(item_type, sid))

    def sids(self, item_type: str, start: int = 0) -> Iterator[tuple[int, Bearers]]:
        """Every SID of a type from `start` on with its items, ascending."""
        prefix = item_type.encode() + b"\0"
        for key, value in self._scan("sid_items", sid_key(item_type, start)):
            if not key.startswith(prefix):
                return
            yield int.from_bytes(key[len(prefix) :]), msgspec.msgpack.decode(value, type=Bearers)

    def availability(self, key: ItemKey) -> AvailabilityRecord | None:
        return self._get("availability", item_key(key), AvailabilityRecord)

    def put_availability(self, key: ItemKey, record: AvailabilityRecord | None) -> None:
        """None: nothing is said of the item. Keeps the table of those that wait for their item."""
        old = self.availability(key)
        if old and old.waiting_since_us:
            self._delete("waiting", _number(old.waiting_since_us) + item_key(key))
        if record is None:
            self._delete("availability", item_key(key))
            return
        self._put("availability", item_key(key), record)
        if record.waiting_since_us:
            self._txn.put(_number(record.waiting_since_us) + item_key(key), b"", db=self._tables["waiting"])

    def waiting(self) -> Iterator[tuple[int, ItemKey]]:
        """Items to come of which availability was said, with the time since when; the longest first."""
        for key, _ in self._scan("waiting"):
            item_type, _, item_id = key[8:].decode().partition("\0")
            yield int.from_bytes(key[:8]), ItemKey(item_type, item_id)

    def put_log(self, generation: int, entry: LogEntry) -> None:
        self._put("log", _number(generation), entry)

    def log_after(self, generation: int) -> Iterator[tuple[int, LogEntry]]:
        for key, value in self._scan("log", _number(generation + 1)):
            yield int.from_bytes(key), _decode_log(value)

    def trim_log(self, generation: int) -> None:
        """Forget what a reader that starts from the base does not need."""
        for key in [key for key, _ in self._scan("log") if int.from_bytes(key) <= generation]:
            self._delete("log", key)

    def offset(self, topic: str, partition: int) -> int:
        """Next offset to apply; 0 where nothing was."""
        value = self._txn.get(_offset_key(topic, partition), db=self._tables["offsets"])
        return 0 if value is None else int.from_bytes(value)

    def put_offset(self, topic: str, partition: int, offset: int) -> None:
        self._txn.put(_offset_key(topic, partition), _number(offset), db=self._tables["offsets"])

    def remove_offset(self, topic: str, partition: int) -> None:
        self._delete("offsets", _offset_key(topic, partition))

    def offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition) to next offset."""
        found = {}
        for key, value in self._scan("offsets"):
            topic, _, partition = key[:-4], key[-5:-4], key[-4:]
            found[topic[:-1].decode(), int.from_bytes(partition)] = int.from_bytes(value)
        return found

    def put_outgoing(self, number: int, outgoing: Outgoing) -> None:
        self._put("outbox", _number(number), outgoing)

    def outbox(self, limit: int, start: int = 0) -> list[tuple[int, Outgoing]]:
        """The oldest waiting records, from number `start` on."""
        decode = msgspec.msgpack.Decoder(Outgoing).decode
        return [(number, decode(value)) for number, value in self.outbox_bytes(limit, start)]

    def outbox_bytes(self, limit: int, start: int = 0, max_bytes: float = inf) -> list[tuple[int, bytes]]:
        """The same as they are kept, and no more than `max_bytes`, save for the first."""
        rows: list[tuple[int, bytes]] = []
        size = 0
        for key, value in self._scan("outbox", _number(start)):
            size += len(value)
            if rows and size > max_bytes:
                break
            rows.append((int.from_bytes(key), value))
            if len(rows) == limit:
                break
        return rows

    def remove_outgoing(self, numbers: list[int]) -> None:
        for number in numbers:
            self._delete("outbox", _number(number))

    def clear_outbox(self) -> None:
        self._txn.drop(self._tables["outbox"], delete=False)

    def put_dead_letter(self, number: int, letter: DeadLetter) -> None:
        self._put("dead_letters", _number(number), letter)

    def remove_dead_letter(self, number: int) -> None:
        self._delete("dead_letters", _number(number))

    def dead_letters(self) -> Iterator[tuple[int, DeadLetter]]:
        """Kept dead letters, oldest first."""
        for key, value in self._scan("dead_letters"):
            yield int.from_bytes(key), msgspec.msgpack.decode(value, type=DeadLetter)

    def append(self, table: str, pairs: list[tuple[bytes, bytes]]) -> None:
        """Encoded keys and values, ascending, behind all that the table holds: several times as fast as one by one."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            _, added = cursor.putmulti(pairs, append=True)
        assert added == len(pairs), f"{len(pairs) - added} keys of {table} out of order"  # LMDB only leaves them out

    def clear(self) -> None:
        """Everything goes, the description too."""
        for table in self._tables.values():
            self._txn.drop(table, delete=False)

    def has(self, table: str) -> bool:
        """Not so where the catalog is of an older schema, or the table of a newer one."""
        return table in self._tables

    def entries(self, table: str) -> int:
        return int(self._txn.stat(self._tables[table])["entries"])

    def size(self, table: str) -> int:
        """Bytes of a table's pages."""
        stat = self._txn.stat(self._tables[table])
        return int(stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]))


def item_key(key: ItemKey) -> bytes:
    return f"{key.type}\0{key.id}".encode()


def sid_key(item_type: str, sid: int) -> bytes:
    return item_type.encode() + b"\0" + _number(sid)


def _offset_key(topic: str, partition: int) -> bytes:
    return topic.encode() + b"\0" + partition.to_bytes(4)


def _number(value: int) -> bytes:
    return value.to_bytes(8)
