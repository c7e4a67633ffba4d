"""What a catalog must hold after a log of changes: a fold over a dict, and every SID by trying all tuples in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.types import ItemKey
from neo_runtime.v1.catalog_events_pb2 import SidAssigned
from tests.kit import tiny
from tests.kit.changes import Bad, Change, Said

Codes = tuple[int, ...]
BOOKS = tiny.codebooks()


@dataclass
class Known:
    """An item that the log named. Deleted ones have no codes."""

    time_us: int
    change: Change
    codes: Codes | None = None
    path: Codes | None = None


class Fold:
    """Say all changes of a type in the order of the log."""

    def __init__(self, log: Iterable[Said] = ()) -> None:
        self.known: dict[ItemKey, Known] = {}
        self.counts: Counter[str] = Counter()
        self.told: Counter[tuple[str, Codes | None]] = Counter()
        """Every state that ever was published, by its codes, and how often."""
        self._taken: set[tuple[str, Codes]] = set()
        for said in log:
            self.say(said)

    def say(self, said: Said) -> None:
        if isinstance(said, Bad):
            self.counts["dead_letters"] += 1
            return
        known = self.known.get(said.key)
        if known and said.time_us < known.time_us and not said.tombstone:
            self.counts["stale"] += 1
        elif said.title is None:
            self._delete(said, known)
        else:
            self._upsert(said, known)

    def live(self) -> dict[ItemKey, Codes]:
        return {key: known.codes for key, known in self.known.items() if known.codes is not None}

    def assignments(self) -> dict[str, Codes | None]:
        """The last word on every item."""
        return {str(key): known.codes for key, known in self.known.items()}

    def _delete(self, said: Change, known: Known | None) -> None:
        if known is None:
            self.counts["unknown_deletes"] += 1
            if not said.tombstone:
                self.known[said.key] = Known(said.time_us, said)
                self.told[str(said.key), None] += 1
            return
        self.counts["deleted" if known.codes else "unchanged"] += 1
        known.time_us = max(known.time_us, said.time_us)
        self._move(said.key, known, None, None)
        self.told[str(said.key), None] += 1

    def _upsert(self, said: Change, known: Known | None) -> None:
        known = known or Known(said.time_us, said)
        old, was_live = known.change, known.codes is not None
        same = (old.title, old.version, old.popularity) == (said.title, said.version, said.popularity)
        self.counts["unchanged" if was_live and same else "upserted"] += 1
        self.known[said.key] = known
        known.time_us, known.change = said.time_us, said
        tuples = ranked(list(BOOKS[said.key.type].centroids), tiny.vector(said.key, said.version))
        path = next(tuples)
        if path != known.path:
            taken = {codes for kind, codes in self._taken if kind == said.key.type} - {known.codes}
            free = next(codes for codes in chain([path], tuples) if codes not in taken)
            self._move(said.key, known, free, path)
        self.told[str(said.key), known.codes] += 1

    def _move(self, key: ItemKey, known: Known, codes: Codes | None, path: Codes | None) -> None:
        if known.codes is not None:
            self._taken.remove((key.type, known.codes))
        if codes is not None:
            self._taken.add((key.type, codes))
        known.codes, known.path = codes, path


def ranked(levels: list[np.ndarray], rest: np.ndarray) -> Iterator[Codes]:
    """Every tuple, the nearest first: of two, the one whose first code that differs is nearer to what is left there."""
    distances = np.linalg.norm(levels[0].astype(float) - rest, axis=1)
    for code in sorted(range(len(distances)), key=lambda code: (distances[code], code)):
        tails = ranked(levels[1:], rest - levels[0][code]) if levels[1:] else iter([()])
        for tail in tails:
            yield (code, *tail)


def assert_equals_fold(reader: CatalogReader, fold: Fold) -> None:
    """What it holds, and the counters: every event counted once, as what it was."""
    assert_holds_fold(reader, fold)
    counters = reader.state().counters
    counted = {name: n for name, n in counters.items() if not name.startswith("dead_letters.")}
    assert counted == fold.counts, (counted, fold.counts)


def assert_holds_fold(reader: CatalogReader, fold: Fold) -> None:
    """Items, SIDs both ways, view and statistics."""
    stored: dict[ItemKey, Any] = {}
    with reader.store.read() as txn:
        for kind in BOOKS:
            stored |= {ItemKey(kind, item_id): record for item_id, record in txn.items(kind)}
        bearers = {(kind, sid): [item for _, item in ids] for kind in BOOKS for sid, ids in txn.sids(kind)}
        state = txn.state()
    assert stored.keys() == fold.known.keys(), stored.keys() ^ fold.known.keys()
    view = reader.view()
    for key, known in fold.known.items():
        record = stored[key]
        assert (record.event_time_us, record.deleted) == (known.time_us, known.codes is None), (key, record, known)
        if known.codes is None:
            continue
        space, change = BOOKS[key.type].space, known.change
        assert (record.title, record.popularity) == (change.title, change.popularity), (key, record, known)
        assert (space.unpack_one(record.sid_key), space.unpack_one(record.path_key)) == (known.codes, known.path), key
        on_leaf = bearers.pop((key.type, record.sid_key)), view.types[key.type].items_on(record.sid_key)
        assert on_leaf == ([key.id], (key.id,)), (key, on_leaf)
    assert bearers == {}, bearers
    counts = Counter(key.type for key in fold.live())
    assert {kind: stats.items for kind, stats in state.stats.items() if stats.items} == counts, (state, counts)
    assert {kind: len(leaves) for kind, leaves in view.types.items()} == {kind: counts[kind] for kind in BOOKS}, counts


def assigned(records: Iterable[Any]) -> dict[str, Codes | None]:
    """The last value per key of an assignments topic."""
    return dict(map(assignment, records))


def assignment(record: Any) -> tuple[str, Codes | None]:
    """Key and codes, None where the item is gone; a record must name its key and its codebook."""
    if record.value is None:
        return record.key.decode(), None
    message = SidAssigned.FromString(record.value)
    assert f"{message.item.item_type}/{message.item.item_id}".encode() == record.key, (record.key, message)
    assert message.deleted != message.HasField("sid"), message
    if message.deleted:
        return record.key.decode(), None
    assert message.sid.codebook == BOOKS[message.sid.item_type].fingerprint, message
    assert dict(record.headers)["content-type"] == b"application/protobuf", record.headers
    return record.key.decode(), tuple(message.sid.codes)
