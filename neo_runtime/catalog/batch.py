"""Apply events inside one write transaction: the rules of what an event does to an item, its SID and the log.

Everything that a batch changes is in `Batch` and its transaction; nothing is visible before the commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from neo_runtime.catalog.buffered import Buffered
from neo_runtime.catalog.encode import Encoded
from neo_runtime.catalog.item import Availability, Delete, Event, ItemRecord, RawRecord, Rejected, Stored, Upsert
from neo_runtime.catalog.records import Assignment, AvailabilityRecord, DeadLetter, Outgoing, TypeStats
from neo_runtime.catalog.tables import Bearers, LogEntry, Transaction
from neo_runtime.errors import EventError
from neo_runtime.sid.assign import CollisionPolicy, nearest_free
from neo_runtime.sid.codebook import Codebook
from neo_runtime.trie import Leaf, Row
from neo_runtime.types import ItemKey, Position

MIN_WAITING, MAX_WAITING_US = 1_000, 24 * 3_600 * 1_000_000
KEPT_DEAD_LETTERS = 10_000  # the newest; older ones stay counted


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did. `generation` is the newest one, moved by this batch or not."""

    generation: int
    upserted: int = 0
    deleted: int = 0
    unchanged: int = 0
    stale: int = 0
    unknown_deletes: int = 0
    replayed: int = 0
    retracted: int = 0
    forgotten: int = 0
    availability: int = 0
    dead_letters: int = 0


class Batch:
    """One batch in one transaction. Call `apply` in log order, then `finish` once.

    `positions`: the logs that the events come from, and where each will have been read up to.
    """

    def __init__(
        self, txn: Transaction, codebooks: Mapping[str, Codebook], policy: CollisionPolicy,
        positions: Mapping[tuple[str, int], int], *, publish: bool,
    ) -> None:  # fmt: skip
        self._txn, self._codebooks, self._policy, self._publish = txn, codebooks, policy, publish
        self._positions, self._tables = positions, Buffered(txn)
        self._state = txn.state()
        self._next_generation = self._state.generation + 1
        self._touched: dict[str, set[int]] = {}
        self._counts: dict[str, int] = {}
        self._records_changed = False

    def apply(self, event: Event, encoded: Encoded | EventError | None) -> None:
        """One event; an EventError, met before or here, makes it a dead letter."""
        position = event.source.position
        if position.offset < self._tables.offset(position.topic, position.partition):
            self._count("replayed")
        elif isinstance(event, Rejected):
            self._refuse(event.source, event.reason, event.message)
        elif isinstance(event, Stored):
            self._take(event)
        elif isinstance(encoded, EventError):
            self._refuse(event.source, encoded.reason, str(encoded))
        elif isinstance(event, Delete):
            self._delete(event)
        elif isinstance(event, Availability):
            self._availability(event)
        else:
            assert encoded is not None
            try:
                self._upsert(event, encoded)
            except EventError as error:
                self._refuse(event.source, error.reason, str(error))

    def finish(self) -> Applied:
        """Write items, log, offsets and state; the caller commits."""
        self._tables.flush()
        for (topic, partition), offset in self._positions.items():
            self._txn.put_offset(topic, partition, max(offset, self._tables.offset(topic, partition)))
        if self._records_changed:
            self._state.generation = self._next_generation
            self._state.commit_time_us = time.time_ns() // 1000
            self._txn.put_log(self._next_generation, self._log_entry())
        if self._counts:
            self._txn.put_state(self._state)
        return Applied(self._state.generation, **self._counts)

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        self._state.count(name)

    def _take(self, event: Stored) -> None:
        """Another catalog decides on the items from here on; what this one said itself it has."""
        if event.origin == self._txn.description().catalog_id and event.generation <= self._state.generation:
            return
        self._state.assigns = False
        old, new = self._tables.item(event.key), event.record
        if old == new:
            self._count("unchanged")
        elif old and new and old.is_newer_than(Position(new.source_topic, new.source_partition, new.source_offset)):
            self._count("replayed")
        else:
            self._count("deleted" if new is None or new.deleted else "upserted")
            self._put(event.key, old, new, own=False)

    def put_back(self, key: ItemKey, record: ItemRecord | None) -> None:
        """The state of an item that counts, whatever this catalog has made of it since."""
        self._count("retracted")
        self._put(key, self._tables.item(key), record, own=False)

    def forget(self, key: ItemKey) -> None:
        """An item that has been deleted for long: older events are not kept out any more."""
        self._count("forgotten")
        self._put(key, self._tables.item(key), None)

    def _upsert(self, event: Upsert, encoded: Encoded) -> None:
        record = self._tables.item(event.key)
        if record and record.is_newer_than(event.source.position):  # told again, after a takeover or lost offsets
            self._count("replayed")
            return
        if record and event.event_time_us < record.event_time_us:
            self._count("stale")
            return
        live = record if record and not record.deleted else None
        sid, path, error = self._place(event.key, live, encoded)
        new = ItemRecord(
            event.title, event.description, dict(sorted(event.attributes.items())), event.popularity,
            event.event_time_us, False, sid, path, error, encoded.content_hash, *event.source.position,
        )  # fmt: skip
        if live and _same_content(live, new):
            self._count("unchanged")
        else:
            self._count("upserted")
        self._put(event.key, record, new)

    def _put(self, key: ItemKey, old: ItemRecord | None, new: ItemRecord | None, *, own: bool = True) -> None:
        """An item's new state in its table, on its SID, in the log; for others too where it is our own decision."""
        live = old if old and not old.deleted else None
        kept = new if new and not new.deleted else None
        self._tables.put_item(key, new)
        self._records_changed = True
        if bool(live) != bool(kept):
            self._follow_item(key, is_live=bool(kept))
        if live and kept and (live.sid_key, live.popularity) == (kept.sid_key, kept.popularity):
            if live.attributes != kept.attributes:
                self._touch(key.type, kept.sid_key)
        else:
            if live:
                self._unbear(key, live)
            if kept:
                bearers = self._tables.bearers(key.type, kept.sid_key)
                self._set_bearers(key.type, kept.sid_key, bearers, [*bearers, (kept.popularity, key.id)])
        if not own or new == old:
            return
        if not self._publish:
            self._state.unannounced = ""
        else:
            self._send(Assignment(key.type, key.id, new, self._next_generation))

    def _place(self, key: ItemKey, live: ItemRecord | None, encoded: Encoded) -> tuple[int, int, float]:
        """SID, path and error of an item: kept as long as its content quantizes alike."""
        quantized = encoded.quantized
        if quantized is None:
            assert live is not None
            return live.sid_key, live.path_key, live.quantization_error
        path, error = quantized.path_key, quantized.error
        if live and live.path_key == path:
            return live.sid_key, path, error
        if self._policy is not CollisionPolicy.NEAREST_FREE:
            return path, path, error

        def is_free(sid: int) -> bool:
            return all(item_id == key.id for _, item_id in self._tables.bearers(key.type, sid))

        if is_free(path):
            return path, path, error
        return nearest_free(self._codebooks[key.type], quantized.embedding, is_free), path, error

    def _delete(self, event: Delete) -> None:
        record = self._tables.item(event.key)
        if record and record.is_newer_than(event.source.position):  # told again, after a takeover or lost offsets
            self._count("replayed")
            return
        if record is None and (event.is_tombstone or event.key.type not in self._codebooks):
            self._count("unknown_deletes")
            return
        if record and event.event_time_us < record.event_time_us and not event.is_tombstone:
            self._count("stale")
            return
        moment = max(event.event_time_us, record.event_time_us if record else 0)
        self._count("unknown_deletes" if record is None else "unchanged" if record.deleted else "deleted")
        # Only when it went is remembered, so that an older upsert on its way stays out.
        gone = ItemRecord("", "", {}, 0.0, moment, True, 0, 0, 0.0, b"", *event.source.position)
        self._put(event.key, record, gone)

    def _unbear(self, key: ItemKey, record: ItemRecord) -> None:
        bearers = self._tables.bearers(key.type, record.sid_key)
        self._set_bearers(key.type, record.sid_key, bearers, [b for b in bearers if b[1] != key.id])

    def _set_bearers(self, item_type: str, sid: int, old: Bearers, new: Bearers) -> None:
        if len(new) > 1:
            new = sorted(new, key=lambda bearer: (-bearer[0], bearer[1]))
        self._tables.put_bearers(item_type, sid, new)
        self._touch(item_type, sid)
        stats = self._state.stats.setdefault(item_type, TypeStats())
        stats.items += len(new) - len(old)
        stats.sids += bool(new) - bool(old)
        stats.colliding += (len(new) > 1) * len(new) - (len(old) > 1) * len(old)

    def _touch(self, item_type: str, sid: int) -> None:
        self._touched.setdefault(item_type, set()).add(sid)

    def _log_entry(self) -> LogEntry:
        return {name: [(sid, self._leaf(name, sid)) for sid in sorted(sids)] for name, sids in self._touched.items()}

    def _leaf(self, item_type: str, sid: int) -> Leaf:
        """What a reader's trie must hold on a SID from now on."""
        bearers = self._tables.bearers(item_type, sid)
        shown = bearers[:1] if self._policy is CollisionPolicy.CANONICAL else bearers
        return tuple(self._row(ItemKey(item_type, item_id)) for _, item_id in shown)

    def _row(self, key: ItemKey) -> Row:
        record = self._tables.item(key)
        assert record is not None
        said = self._tables.availability(key)
        return Row(key.id, record.attributes, said.windows if said else None)

    def _availability(self, event: Availability) -> None:
        old = self._tables.availability(event.key)
        if old and event.event_time_us < old.event_time_us and not event.is_tombstone:
            self._count("stale")
            return
        self._count("availability")
        item = self._tables.item(event.key)
        is_live = item is not None and not item.deleted
        new = None
        if event.windows is not None:
            new = AvailabilityRecord(event.windows, event.event_time_us, 0 if is_live else time.time_ns() // 1000)
        self._tables.put_availability(event.key, new)
        if is_live and (old and old.windows) != event.windows:
            assert item is not None
            self._touch(event.key.type, item.sid_key)
            self._records_changed = True
        elif new and not is_live:
            self._forget_waiting()

    def _follow_item(self, key: ItemKey, *, is_live: bool) -> None:
        """What is said of an item waits while there is no such item."""
        said = self._tables.availability(key)
        if said:
            since = 0 if is_live else time.time_ns() // 1000
            self._tables.put_availability(key, AvailabilityRecord(said.windows, said.event_time_us, since))

    def _forget_waiting(self) -> None:
        """Availability of items that do not come, the oldest first: it must not fill the disk."""
        items = sum(stats.items for stats in self._state.stats.values())
        surplus = self._txn.entries("waiting") - max(MIN_WAITING, items // 100)
        too_old = time.time_ns() // 1000 - MAX_WAITING_US
        for number, (since, key) in enumerate(list(islice(self._txn.waiting(), max(surplus, 1)))):
            if number < surplus or since < too_old:
                self._tables.put_availability(key, None)
                self._state.count("availability_forgotten")

    def _refuse(self, source: RawRecord, reason: str, message: str) -> None:
        letter = DeadLetter.of(source, reason, message)
        number = self._state.dead_letters
        self._txn.put_dead_letter(number, letter)
        if number >= KEPT_DEAD_LETTERS:
            self._txn.remove_dead_letter(number - KEPT_DEAD_LETTERS)
        self._state.dead_letters += 1
        self._state.count(f"dead_letters.{reason}")
        self._count("dead_letters")
        if self._publish:
            self._send(letter)

    def _send(self, outgoing: Outgoing) -> None:
        self._txn.put_outgoing(self._state.outgoing, outgoing)
        self._state.outgoing += 1


def _same_content(old: ItemRecord, new: ItemRecord) -> bool:
    fields = ("title", "description", "attributes", "popularity", "sid_key", "content_hash")
    return all(getattr(old, name) == getattr(new, name) for name in fields)
