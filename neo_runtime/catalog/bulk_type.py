"""One item type of a bulk load: what is known of each of its lines, and the order and the SIDs that follow from it.

Records and embeddings lie in files. What grows with the catalog in memory is fixed-width arrays, ids, and the columns
of the base segment, which is made in memory as every segment is: some 200 bytes an item with three attributes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import is_
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_columns import Joined, flat
from neo_runtime.catalog.bulk_fold import Facts, Folded, Numbers, Said, fold
from neo_runtime.catalog.bulk_parts import Part, halves_of, whole
from neo_runtime.catalog.bulk_place import place_all
from neo_runtime.catalog.bulk_runs import Entries, Halves, Runs, run_of
from neo_runtime.catalog.bulk_vectors import Rows, Vectors
from neo_runtime.catalog.item import Availability, Delete, ItemRecord
from neo_runtime.embed.base import Embedder
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.rows import Ids, PackedRows
from neo_runtime.trie.windows import Windows

_GATHERED = 65_536  # ids copied at once

_encode = msgspec.msgpack.encode
_decode_record = msgspec.msgpack.Decoder(ItemRecord).decode


class _Part(NamedTuple):
    """Items that were merged together: lines with a record, in merged order, and the places of those that count, None
    where all of them do.
    """

    numbers: Numbers
    final: NDArray[np.intp] | None
    again: list[tuple[int, int]]


class TypeLoad:
    """Call `add` for all lines, then `merge`, `place`, and what writes."""

    def __init__(
        self, codebook: Codebook, embedder: Embedder | None, folder: Path, rows: Rows | None, *, keeps_vectors: bool
    ) -> None:
        self.codebook, self._embedder = codebook, embedder
        self.prefix = codebook.item_type.encode() + b"\0"
        self._runs = Runs(folder, codebook.item_type)
        vectors = folder / f"{codebook.item_type}.vectors"
        self._vectors = Vectors(vectors, codebook.dimension, rows) if keeps_vectors else None
        self.lines = self.entries = 0  # those with a record; all
        self._facts: list[Facts] = []
        self._popularities: list[NDArray[np.float64]] = []
        self._errors: list[Floats] = []
        self._columns = Joined[Columns]()
        self._parts: list[_Part] = []
        self._windows = Joined[Windows]()
        self.counts = Counter[str]()

    def close(self) -> None:
        self._runs.close()
        if self._vectors:
            self._vectors.close()

    def embed(self, part: Part) -> tuple[Part, Floats]:
        """What it was without."""
        assert self._embedder is not None
        assert part.embeddings is not None
        embeddings = part.embeddings.copy()
        embeddings[part.without] = self._embedder.embed(part.texts)
        return part._replace(embeddings=embeddings), embeddings

    def add(self, part: Part | None, others: Sequence[tuple[int, Delete | Availability]], first: int) -> None:
        """Lines in the order of their files; `first` counts the lines before them."""
        number, entries, records = self.lines, Entries([], [], []), list[Halves]()
        places = list[int]()
        if part:
            count, places, entries, records = len(part.places), part.places.tolist(), part.entries(), part.records
            self._note(Facts(part.times_us, part.paths, np.zeros(count, bool)), part.errors, part.popularities)
            self._columns.add(part.columns)
            if self._vectors:
                self._vectors.add(number, part.embeddings, first + part.places.astype(np.int64))
        if deletions := [event for _, event in others if isinstance(event, Delete)]:
            none, times = np.zeros(len(deletions)), np.array([event.event_time_us for event in deletions], np.int64)
            self._note(Facts(times, none.astype(np.uint64), np.ones(len(none), bool)), none.astype(np.float32), none)
            self._columns.add(Columns(len(none), {}))
            records = records + list(map(_gone, deletions))
        if others:
            entries = _mixed(places, entries, others, len(places), first)
        self._runs.add(number, part.run if part and part.run else run_of(entries, records))
        self.entries += len(places) + len(others)
        self.lines += len(places) + len(deletions)

    def _note(self, facts: Facts, errors: Floats, popularities: NDArray[np.float64]) -> None:
        self._facts.append(facts)
        self._errors.append(errors)
        self._popularities.append(popularities)

    def merge(self, progress: Callable[[int], None]) -> Iterator[list[tuple[bytes, Said, bool]]]:
        """Bring everything into the order of ids; yields what is said of which item's availability, and whether there
        is such an item.
        """
        facts = Facts(*(
            flat([getattr(some, name) for some in self._facts], dtype)
            for name, dtype in (("times_us", np.int64), ("paths", np.uint64), ("is_deletion", np.bool_))
        ))  # fmt: skip
        self._facts.clear()
        self._all_popularities = flat(self._popularities, np.float64)
        self._popularities.clear()
        self._all_errors = flat(self._errors, np.float32)
        self._errors.clear()
        blobs, lengths, finals, placed = list[bytes](), list[NDArray[np.int64]](), list[Numbers](), list[Numbers]()
        for entries in self._runs.merged():
            folded = fold(entries, facts)
            self.counts += folded.counts
            self._parts.append(_part(folded))
            blobs.append(b"".join(folded.ids))
            lengths.append(np.fromiter(map(len, folded.ids), np.int64, len(folded.ids)))
            finals.append(folded.final)
            placed.append(folded.placed)
            self._windows.add(_windows(folded))
            if folded.said:
                is_live = dict(zip(folded.ids, (~facts.is_deletion[folded.final]).tolist(), strict=True))
                yield [(name, said, is_live.get(name, False)) for name, said in folded.said.items()]
            progress(len(entries.ids))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(flat(lengths, np.int64))])
        self.ids = Ids(offsets, np.frombuffer(b"".join(blobs), np.uint8))
        self.final = flat(finals, np.int32)
        is_once = all(map(is_, finals, placed))
        self._placed = self.final if is_once else flat(placed, np.int32)
        self.live = np.flatnonzero(~facts.is_deletion[self.final])
        self._paths, self._all_is_deletion = facts.paths, facts.is_deletion

    def place(self, *, alone: bool, progress: Callable[[int, int], None]) -> None:
        """SIDs of the live items; `alone`: one for each. Those that get none are not live any more."""
        self.sids = self._paths[self.final[self.live]]
        self.refused = list[int]()
        if alone and len(self.live):
            assert self._vectors is not None
            read = self._vectors.read
            self.sids, refused = place_all(self.codebook, self.sids, self._placed[self.live], read, progress)
            self.refused = self.live[refused].tolist()
            self.live, self.sids = np.delete(self.live, refused), np.delete(self.sids, refused)

    def records(self) -> Iterator[tuple[list[tuple[bytes, bytes]], list[tuple[str, ItemRecord]]]]:
        """Keys and records of the items, by key, in parts; and the records of those that got no SID."""
        gone, start = set(self.refused), 0
        parts = self._runs.records(part.numbers for part in self._parts)
        for part, halves in zip(self._parts, parts, strict=True):
            self._count_again(part, halves)
            if part.final is not None:
                halves = [halves[place] for place in part.final.tolist()]
            end = start + len(halves)
            records = list(map(whole, halves, *self._middles(start, end)))
            keys = map(self.prefix.__add__, texts_of(self.ids, start, end))
            pairs = list(zip(keys, records, strict=True))
            refused = [item for item in range(start, end) if item in gone] if gone else []
            if refused:
                pairs = [pair for item, pair in enumerate(pairs, start) if item not in gone]
            yield pairs, [(self.ids[item], _decode_record(records[item - start])) for item in refused]
            start = end

    def _middles(self, start: int, end: int) -> tuple[list[int], list[int], list[float]]:
        """SIDs, paths and errors of some items; what is not live has no SID."""
        final, sids = self.final[start:end], np.zeros(end - start, np.uint64)
        begin, stop = self.live.searchsorted([start, end])
        sids[self.live[begin:stop] - start] = self.sids[begin:stop]
        return sids.tolist(), self._paths[final].tolist(), self._all_errors[final].tolist()

    def _count_again(self, part: _Part, halves: list[Halves]) -> None:
        for before, after in part.again:
            is_same = self._content(part, halves, before) == self._content(part, halves, after)
            self.counts["unchanged" if is_same else "upserted"] += 1

    def _content(self, part: _Part, halves: list[Halves], place: int) -> tuple[object, ...]:
        """What tells a change from the same again."""
        found = _decode_record(whole(halves[place], 0, int(self._paths[part.numbers[place]]), 0.0))
        return found.title, found.description, found.attributes, found.popularity, found.path_key, found.content_hash

    @property
    def items(self) -> int:
        """Records that there will be, of deleted items too."""
        return len(self.final) - len(self.refused)

    @property
    def ever_live(self) -> bool:
        return not self._all_is_deletion.all()

    def popularities(self) -> NDArray[np.float64]:
        """Of the live items."""
        found: NDArray[np.float64] = self._all_popularities[self.final[self.live]]
        return found

    def rows(self, items: NDArray[np.intp], ids: Ids) -> PackedRows:
        """Some items with attributes and availability. Once: the sources are given up."""
        columns = self._columns.whole(Columns(0, {})).take(self.final[items])
        windows = self._windows.whole(Windows.of([])).take(items)
        return PackedRows(ids, columns, windows)

    def forget(self) -> None:
        """All but what `rows` needs."""
        del self.ids, self.live, self.sids, self._placed, self._paths, self._all_errors, self._all_popularities
        del self._parts


def ids_at(ids: Ids, items: NDArray[np.intp]) -> Ids:
    """Some of them, packed in the order given."""
    begins, ends = ids.offsets[items], ids.offsets[items + 1]
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum(ends - begins, out=offsets[1:])
    blob = np.empty(offsets[-1], np.uint8)
    for start in range(0, len(items), _GATHERED):
        some = slice(start, start + _GATHERED)
        shift = np.repeat(begins[some] - offsets[:-1][some], (ends - begins)[some])
        first = offsets[start]
        blob[first : first + len(shift)] = ids.blob[shift + np.arange(first, first + len(shift))]
    return Ids(offsets, blob)


def texts_of(ids: Ids, start: int, end: int) -> list[bytes]:
    """Some ids, as they are encoded."""
    offsets = ids.offsets[start : end + 1]
    data, places = ids.blob[offsets[0] : offsets[-1]].tobytes(), (offsets - offsets[0]).tolist()
    return [data[begin:end] for begin, end in pairwise(places)]


def _gone(event: Delete) -> Halves:
    return halves_of(ItemRecord("", "", {}, 0.0, event.event_time_us, True, 0, 0, 0.0, b"", *event.source.position))


def _mixed(
    places: list[int], upserts: Entries, others: Sequence[tuple[int, Delete | Availability]], number: int, first: int
) -> Entries:
    """Upserts and the other lines in the order of their places; deletions are numbered from `number` on."""
    mixed: list[tuple[int, bytes, int, bytes | None]] = list(zip(places, *upserts, strict=True))
    for place, event in others:
        if isinstance(event, Delete):
            mixed.append((place, event.key.id.encode(), number, None))
            number += 1
        else:
            said = _encode(Said(event.windows, event.event_time_us, first + place))
            mixed.append((place, event.key.id.encode(), -1, said))
    mixed.sort(key=lambda entry: entry[0])
    _, ids, numbers, said_of = zip(*mixed, strict=True)
    return Entries(list(ids), list(numbers), list(said_of))


def _part(folded: Folded) -> _Part:
    if folded.final is folded.numbers:
        return _Part(folded.numbers, None, [])
    place_of = {number: place for place, number in enumerate(folded.numbers.tolist())}
    final = np.array([place_of[number] for number in folded.final.tolist()], np.intp)
    return _Part(folded.numbers, final, folded.again)


def _windows(folded: Folded) -> Windows:
    if folded.said:
        said = map(folded.said.get, folded.ids)
        return Windows.of(None if entry is None else entry.windows for entry in said)
    nothing = Windows.of([])
    return Windows(len(folded.ids), nothing.fact_rows, nothing.windows)
