"""Millions of items into an empty catalog at once, in the order of LMDB's keys: sorted aside, then appended.

The outcome is that of applying every line as an event (`catalog.Catalog.apply`), in one generation. Three differences:
- Of items that meet on one path under nearest-free, each gets a SID of its own, and where every item has one line it
  is the same one. Where items have several lines, SIDs that older lines had taken are free again.
- Availability of items that are not in the catalog yet is looked at when all lines are read, not before.
- An item that no SID is left for is refused, also where an older line of it had found one.

While it runs, the catalog has no description. A crash leaves a folder that was never made whole, and making a catalog
there begins with nothing. An error that leaves the process alive leaves the catalog empty, as it was.
"""

from __future__ import annotations

import gc
import heapq
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path

import msgspec

from neo_runtime.catalog.batch import KEPT_DEAD_LETTERS, MIN_WAITING, Applied
from neo_runtime.catalog.bulk_leaves import Leaves
from neo_runtime.catalog.bulk_lines import FOLDER, Phases
from neo_runtime.catalog.bulk_parts import Chunk, Parsed
from neo_runtime.catalog.bulk_type import TypeLoad
from neo_runtime.catalog.bulk_vectors import Rows
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.encode import not_finite
from neo_runtime.catalog.item import Availability, Delete, Event, ItemRecord, RawRecord, Rejected
from neo_runtime.catalog.records import AvailabilityRecord, Base, DeadLetter, Description, State
from neo_runtime.catalog.tables import Transaction
from neo_runtime.errors import EventError, NeoError
from neo_runtime.sid.assign import CollisionPolicy, no_free_sid
from neo_runtime.types import ItemKey, Position

_COMMIT_BYTES = 64 << 20  # records in one transaction

_VALUE = itemgetter(1)
_encode = msgspec.msgpack.encode

Pairs = list[tuple[bytes, bytes]]
ReadAgain = Callable[[list[Position]], dict[Position, bytes]]
"""Lines by the positions that they were given with."""


def is_empty(catalog: Catalog) -> bool:
    """Whether nothing was ever told to the catalog."""
    with catalog.store.read() as txn:
        return txn.state() == State() and not any(map(txn.entries, ("items", "availability", "log", "offsets")))


def bulk_load(
    catalog: Catalog, chunks: Iterable[tuple[Chunk, Parsed]], total: int, read_again: ReadAgain,
    phases: Phases | None = None, rows: Rows | None = None,
) -> Applied:  # fmt: skip
    """`chunks`: all lines, `total` of them; `rows`: embeddings of those that hold none. The catalog must be empty, and
    nothing else may use it meanwhile.
    """
    assert is_empty(catalog)
    with _undescribed(catalog) as (description, folder), without_collector():
        return _BulkLoad(catalog, folder, phases or Phases(), rows).run(chunks, total, read_again, description)


@contextmanager
def _undescribed(catalog: Catalog) -> Iterator[tuple[Description, Path]]:
    """While it lasts, the catalog was never made whole."""
    description, folder = catalog.reader.description, catalog.store.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def empty(txn: Transaction) -> None:
        txn.clear()
        txn.put_description(description)

    catalog.store.transact(Transaction.clear)
    try:
        yield description, folder
    except BaseException:
        with suppress(NeoError):  # on a full disk too: then it is as after a crash
            catalog.store.transact(empty)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def without_collector() -> Iterator[None]:
    """Millions of small values come and go here, none in cycles: looking for those takes as long as the rest."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _BulkLoad:
    """One load. `run` is the order of things."""

    def __init__(self, catalog: Catalog, folder: Path, phases: Phases, rows: Rows | None) -> None:
        self._catalog, self._phases = catalog, phases
        self._alone = catalog.policy is CollisionPolicy.NEAREST_FREE
        names = sorted(catalog.codebooks, key=lambda name: name.encode() + b"\0")
        self._types = {
            name: TypeLoad(
                catalog.codebooks[name], catalog.encoder.embedder_of(name), folder, rows, keeps_vectors=self._alone
            )
            for name in names
        }
        self._counts = Counter[str]()
        self._letters = _Letters()
        self._waiting: list[tuple[int, str, bytes, AvailabilityRecord]] = []  # by the order in which it was said
        self._lines = self._forgotten = 0

    def run(
        self, chunks: Iterable[tuple[Chunk, Parsed]], total: int, read_again: ReadAgain, description: Description
    ) -> Applied:
        try:
            self._read(iter(chunks), total)
            with self._phases.timed("write"):
                self._merge()
            self._place()
            with self._phases.timed("write"):
                self._write_items(read_again)
                leaves = {name: Leaves(load) for name, load in self._types.items()}
                self._append("sid_items", (pairs for each in leaves.values() for pairs in each.bearers()))
            with self._phases.timed("segments"):
                base = self._segments(leaves)
        finally:
            for load in self._types.values():
                load.close()
        with self._phases.timed("write"):
            state = self._state(leaves, base)
            self._catalog.store.transact(lambda txn: self._finish(txn, state, base, description))
            self._catalog.store.sync()
        self._catalog.reader.rebase()
        fields = Applied.__dataclass_fields__
        return Applied(state.generation, **{name: n for name, n in self._counts.items() if name in fields})

    def _read(self, chunks: Iterator[tuple[Chunk, Parsed]], total: int) -> None:
        while True:
            with self._phases.timed("read"):
                found = next(chunks, None)
                if found is None:
                    break
                chunk, parsed = found
                self._letters.note_topics(chunk.topics)
                others = self._check(chunk, parsed.others)
            self._take(chunk, parsed, others)
            self._lines += chunk.count
            self._phases.advance("reading", self._lines, max(total, self._lines))

    def _check(self, chunk: Chunk, places: list[int]) -> dict[str, list[tuple[int, Delete | Availability]]]:
        """Refuse what breaks a rule; returns what else there is than upserts, by type."""
        others: dict[str, list[tuple[int, Delete | Availability]]] = {}
        events = list(map(chunk.event, places))
        outcomes = self._catalog.encoder.encode(events, lambda keys: {})
        for place, event, outcome in zip(places, events, outcomes, strict=True):
            self._sort_out(place, event, outcome, others)
        return others

    def _sort_out(
        self, place: int, event: Event, outcome: object, others: dict[str, list[tuple[int, Delete | Availability]]]
    ) -> None:
        if isinstance(event, Rejected):
            self._refuse(event.source, event.reason, event.message)
        elif isinstance(outcome, EventError):
            self._refuse(event.source, outcome.reason, str(outcome))
        elif isinstance(event, Delete | Availability) and event.key.type in self._types:
            others.setdefault(event.key.type, []).append((place, event))
        else:
            self._counts["unknown_deletes"] += 1

    def _take(self, chunk: Chunk, parsed: Parsed, others: dict[str, list[tuple[int, Delete | Availability]]]) -> None:
        parts = {part.item_type: part for part in parsed.parts}
        for name in sorted({*parts, *others}):
            load, part = self._types[name], parts.get(name)
            if part and part.texts:
                with self._phases.timed("embed"):
                    part, embeddings = load.embed(part)
                with self._phases.timed("quantize"):
                    part, not_finite_at = part.quantized(load.codebook, embeddings)
                for place in not_finite_at:
                    error = not_finite()
                    self._refuse(chunk.event(place).source, error.reason, str(error))
            with self._phases.timed("read"):
                load.add(part, others.get(name, ()), chunk.first)

    def _merge(self) -> None:
        done = 0

        def progress(lines: int) -> None:
            nonlocal done
            done += lines
            self._phases.advance("ordering", done, max(sum(load.entries for load in self._types.values()), done))

        loads = self._types.values()
        self._append("availability", chain.from_iterable(self._availability(load, progress) for load in loads))

    def _availability(self, load: TypeLoad, progress: Callable[[int], None]) -> Iterator[Pairs]:
        """Of items that are there; what is said of others waits apart, the latest of it as long as there is room."""
        most = max(MIN_WAITING, self._lines // 100)
        for said in load.merge(progress):
            pairs: Pairs = []
            for item_id, entry, is_live in said:
                assert entry.windows is not None
                record = AvailabilityRecord(entry.windows, entry.event_time_us, 0 if is_live else _now_us())
                if is_live:
                    pairs.append((load.prefix + item_id, _encode(record)))
                else:
                    heapq.heappush(self._waiting, (entry.order, load.codebook.item_type, item_id, record))
                    self._forget_waiting(most)
            yield pairs

    def _forget_waiting(self, most: int) -> None:
        while len(self._waiting) > most:
            heapq.heappop(self._waiting)
            self._forgotten += 1

    def _place(self) -> None:
        for name, load in self._types.items():
            with self._phases.timed("place"):
                load.place(alone=self._alone, progress=partial(self._phases.advance, f"placing {name}"))

    def _write_items(self, read_again: ReadAgain) -> None:
        total, done = sum(load.items for load in self._types.values()), 0
        refused: list[tuple[str, str, ItemRecord]] = []

        def batches() -> Iterator[Pairs]:
            nonlocal done
            for name, load in self._types.items():
                for pairs, without in load.records():
                    refused.extend((name, item_id, record) for item_id, record in without)
                    yield pairs
                    done += len(pairs) + len(without)
                    self._phases.advance("writing", done, total)

        self._append("items", batches())
        for load in self._types.values():
            self._counts += load.counts
        if refused:
            self._refuse_placeless(refused, read_again)

    def _refuse_placeless(self, refused: list[tuple[str, str, ItemRecord]], read_again: ReadAgain) -> None:
        """Items that no SID was left for: their lines are looked up again."""
        refused.sort(key=lambda entry: self._letters.order(_position(entry[2])))
        lines = read_again([_position(record) for _, _, record in refused[-KEPT_DEAD_LETTERS:]])
        self._counts["upserted"] -= len(refused)
        for name, item_id, record in refused:
            position, error = _position(record), no_free_sid(name)
            raw = RawRecord(position, f"{name}/{item_id}".encode(), lines.get(position), (), _now_us())
            self._refuse(raw, error.reason, str(error))

    def _append(self, table: str, batches: Iterable[Pairs]) -> None:
        """In key order, in transactions of bounded size."""
        waiting: Pairs = []
        size = 0

        def body(txn: Transaction) -> None:
            txn.append(table, waiting)

        for pairs in batches:
            waiting += pairs
            size += sum(map(len, map(_VALUE, pairs)))
            if size > _COMMIT_BYTES:
                self._catalog.store.transact(body)
                waiting.clear()
                size = 0
        if waiting:
            self._catalog.store.transact(body)

    def _segments(self, leaves: dict[str, Leaves]) -> Base | None:
        """None where there never was an item."""
        if not any(load.items for load in self._types.values()):
            return None
        files, sums, folder = {}, {}, self._catalog.store.path / "segments"
        is_canonical = self._catalog.policy is CollisionPolicy.CANONICAL
        for done, (name, each) in enumerate(leaves.items(), 1):
            files[name] = f"{name}-1.seg"
            sums[name] = each.segment(self._catalog.named, canonical=is_canonical).save(folder / files[name])
            self._phases.advance("segments", done, len(leaves))
        return Base(1, files, sums)

    def _state(self, leaves: dict[str, Leaves], base: Base | None) -> State:
        stats = {name: leaves[name].stats() for name, load in self._types.items() if load.ever_live}
        items = sum(each.items for each in stats.values())
        self._forget_waiting(max(MIN_WAITING, items // 100))
        counters = {name: n for name, n in self._counts.items() if n} | self._letters.counters()
        if self._forgotten:
            counters["availability_forgotten"] = self._forgotten
        return State(
            generation=1 if base else 0, commit_time_us=_now_us() if base else 0, stats=stats, counters=counters,
            dead_letters=self._letters.count, unannounced="" if base else None,
        )  # fmt: skip

    def _finish(self, txn: Transaction, state: State, base: Base | None, description: Description) -> None:
        """The last transaction: from here on there is a catalog."""
        for number, letter in self._letters.newest():
            txn.put_dead_letter(number, letter)
        for _, item_type, item_id, record in self._waiting:
            txn.put_availability(ItemKey(item_type, item_id.decode()), record)
        if base:
            txn.put_base(base)
        txn.put_state(state)
        txn.put_description(description)

    def _refuse(self, source: RawRecord, reason: str, message: str) -> None:
        self._counts["dead_letters"] += 1
        self._letters.add(source, reason, message)


class _Letters:
    """Dead letters: all are counted, the newest are kept."""

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[int, int], DeadLetter]] = []
        self._reasons, self._topics = Counter[str](), dict[str, int]()
        self.count = 0

    def note_topics(self, topics: Iterable[str]) -> None:
        """In the order in which they are read."""
        for topic in dict.fromkeys(topics):
            self._topics.setdefault(topic, len(self._topics))

    def order(self, position: Position) -> tuple[int, int]:
        return self._topics.setdefault(position.topic, len(self._topics)), position.offset

    def add(self, source: RawRecord, reason: str, message: str) -> None:
        self._kept.append((self.order(source.position), DeadLetter.of(source, reason, message)))
        self._reasons[f"dead_letters.{reason}"] += 1
        self.count += 1
        if len(self._kept) >= 2 * KEPT_DEAD_LETTERS:
            self._drop_old()

    def _drop_old(self) -> None:
        self._kept.sort(key=lambda entry: entry[0])
        del self._kept[:-KEPT_DEAD_LETTERS]

    def counters(self) -> dict[str, int]:
        return dict(self._reasons)

    def newest(self) -> list[tuple[int, DeadLetter]]:
        """With their numbers, oldest first."""
        self._drop_old()
        return list(enumerate((letter for _, letter in self._kept), self.count - len(self._kept)))


def _position(record: ItemRecord) -> Position:
    return Position(record.source_topic, record.source_partition, record.source_offset)


def _now_us() -> int:
    return time.time_ns() // 1_000
