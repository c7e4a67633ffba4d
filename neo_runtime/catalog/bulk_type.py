"""One item type of a bulk load: what is known of each of its lines, and the order and the SIDs that follow from it.

Records and embeddings lie in files. What grows with the catalog in memory is fixed-width arrays, ids, and the columns
of the base segment, which is made in memory as every segment is: some 200 bytes an item with three attributes.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, repeat
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_columns import Joined, columns_of, flat
from neo_runtime.catalog.bulk_fold import Facts, Folded, Numbers, Said, fold
from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.catalog.bulk_place import place_all
from neo_runtime.catalog.bulk_runs import Entries, Runs
from neo_runtime.catalog.encode import text_hash
from neo_runtime.catalog.item import Availability, Delete, ItemRecord
from neo_runtime.embed.base import Embedder, item_text
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.space import Keys
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.rows import Ids, PackedRows
from neo_runtime.trie.windows import Windows

_QUANTIZED = 4_096  # embeddings at once: their distances stay in the cache
_GATHERED = 65_536  # ids copied at once

_encode = msgspec.msgpack.encode
_encode_by_name = msgspec.msgpack.Encoder(order="deterministic").encode  # attributes in the order of their names
_decode_record = msgspec.msgpack.Decoder(ItemRecord).decode


class Quantized(NamedTuple):
    """Where each of some embeddings leads, its squared error, and whether it is finite."""

    paths: Keys
    errors: list[float]
    is_finite: NDArray[np.bool_]

    def take(self, kept: NDArray[np.intp]) -> Quantized:
        return Quantized(self.paths[kept], [self.errors[entry] for entry in kept.tolist()], self.is_finite[kept])


class _Part(NamedTuple):
    """Items that were merged together: lines with a record, in merged order, and the places of those that count."""

    numbers: Numbers
    final: NDArray[np.intp]
    again: list[tuple[int, int]]


class TypeLoad:
    """Call `add` for all lines, then `merge`, `place`, and what writes."""

    def __init__(self, codebook: Codebook, embedder: Embedder | None, folder: Path, *, keeps_vectors: bool) -> None:
        self.codebook, self._embedder = codebook, embedder
        self.prefix = codebook.item_type.encode() + b"\0"
        self._runs = Runs(folder, codebook.item_type)
        self._vectors = (folder / f"{codebook.item_type}.vectors").open("w+b") if keeps_vectors else None
        self.lines = self.entries = 0  # those with a record; all
        self._facts: list[Facts] = []
        self._popularities: list[NDArray[np.float64]] = []
        self._columns = Joined[Columns]()
        self._parts: list[_Part] = []
        self._windows = Joined[Windows]()
        self.counts = Counter[str]()

    def close(self) -> None:
        self._runs.close()
        if self._vectors:
            self._vectors.close()

    def embed(self, lines: Lines) -> Floats:
        """Embeddings of upserts that are right: given ones, the others from the embedder."""
        dimension, given = self.codebook.dimension, lines.embeddings
        if None not in given:
            joined = b"".join(given)  # type: ignore[arg-type]
            return np.frombuffer(joined, "<f4").astype(np.float32, copy=False).reshape(-1, dimension)
        embeddings = np.empty((len(given), dimension), np.float32)
        without = [i for i, data in enumerate(given) if data is None]
        for i, data in enumerate(given):
            if data is not None:
                embeddings[i] = np.frombuffer(data, "<f4")
        assert self._embedder is not None
        embeddings[without] = self._embedder.embed([_text(lines, i) for i in without])
        return embeddings

    def quantize(self, embeddings: Floats) -> Quantized:
        codes, errors, space = [], [], self.codebook.space
        for start in range(0, len(embeddings), _QUANTIZED):
            some_codes, some_errors = self.codebook.encode(embeddings[start : start + _QUANTIZED])
            codes.append(space.pack(some_codes))
            errors += some_errors.tolist()
        return Quantized(flat(codes, np.uint64), errors, np.asarray(np.isfinite(embeddings).all(axis=1)))

    def add(
        self, lines: Lines, embeddings: Floats, quantized: Quantized,
        others: Sequence[tuple[int, Delete | Availability]], first: int,
    ) -> None:  # fmt: skip
        """Lines in the order of their files; `first` counts the lines before them."""
        deletions = [(place, event) for place, event in others if isinstance(event, Delete)]
        self._note(lines, quantized, [event for _, event in deletions])
        self._columns.add(columns_of(lines.values(), len(lines.ids) + len(deletions)))
        if self._vectors:
            self._vectors.write(np.ascontiguousarray(embeddings, np.float32).data)
            self._vectors.write(bytes(4 * self.codebook.dimension * len(deletions)))
        records = _records(lines, quantized)
        records += [_gone(event) for _, event in deletions]
        ids = [text.encode() for text in lines.ids]
        numbers = list(range(self.lines, self.lines + len(ids)))
        entries = Entries(ids, numbers, [None] * len(ids))
        if others:
            entries = _mixed(lines.places, entries, others, self.lines + len(ids), first)
        self._runs.add(self.lines, entries, records)
        self.entries += len(entries.ids)
        self.lines += len(records)

    def _note(self, lines: Lines, quantized: Quantized, deletions: list[Delete]) -> None:
        count = len(deletions)
        times = np.array([*lines.times_us, *(event.event_time_us for event in deletions)], np.int64)
        paths = np.concatenate([quantized.paths, np.zeros(count, np.uint64)])
        is_deletion = np.arange(len(times)) >= len(lines.ids)
        self._facts.append(Facts(times, paths, is_deletion))
        self._popularities.append(np.array([*lines.popularities, *repeat(0.0, count)], np.float64))

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
        self.final, self._placed = flat(finals, np.int32), flat(placed, np.int32)
        self.live = np.flatnonzero(~facts.is_deletion[self.final])
        self._paths, self._all_is_deletion = facts.paths, facts.is_deletion

    def place(self, *, alone: bool, progress: Callable[[int, int], None]) -> None:
        """SIDs of the live items; `alone`: one for each. Those that get none are not live any more."""
        self.sids = self._paths[self.final[self.live]]
        self.refused = list[int]()
        self._moved: NDArray[np.intp] = np.empty(0, np.intp)
        if alone and len(self.live):
            paths = self.sids
            self.sids, refused = place_all(self.codebook, paths, self._placed[self.live], self._given, progress)
            self._moved = self.live[self.sids != paths]
            self.refused = self.live[refused].tolist()
            self.live, self.sids = np.delete(self.live, refused), np.delete(self.sids, refused)

    def _given(self, numbers: list[int]) -> Floats:
        """Embeddings by the numbers of lines."""
        assert self._vectors is not None
        self._vectors.flush()
        file, width = self._vectors.fileno(), 4 * self.codebook.dimension
        data = b"".join([os.pread(file, width, number * width) for number in numbers])
        return np.frombuffer(data, np.float32).reshape(-1, self.codebook.dimension)

    def records(self) -> Iterator[tuple[list[tuple[bytes, bytes]], list[tuple[str, ItemRecord]]]]:
        """Keys and records of the items, by key, in parts; and the records of those that got no SID."""
        new_sids = dict(zip(self._moved.tolist(), self.sids[self.live.searchsorted(self._moved)].tolist(), strict=True))
        gone, start = set(self.refused), 0
        changed = np.array(sorted({*new_sids, *gone}), np.intp)
        parts = self._runs.records(part.numbers for part in self._parts)
        for part, records in zip(self._parts, parts, strict=True):
            self._count_again(part, records)
            count = len(part.final)
            if count < len(records):
                records = [records[place] for place in part.final.tolist()]
            begin, end = changed.searchsorted([start, start + count])
            refused = []
            for item in changed[begin:end].tolist():
                record = _decode_record(records[item - start])
                if item in gone:
                    refused.append((self.ids[item], record))
                else:
                    records[item - start] = _encode(msgspec.structs.replace(record, sid_key=new_sids[item]))
            pairs = list(zip(map(self.prefix.__add__, texts_of(self.ids, start, start + count)), records, strict=True))
            if refused:
                pairs = [pair for item, pair in enumerate(pairs, start) if item not in gone]
            start += count
            yield pairs, refused

    def _count_again(self, part: _Part, records: list[bytes]) -> None:
        for before, after in part.again:
            is_same = _content(records[before]) == _content(records[after])
            self.counts["unchanged" if is_same else "upserted"] += 1

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

    def ids_of(self, items: NDArray[np.intp]) -> Ids:
        """Their ids, packed in the order given."""
        begins, ends = self.ids.offsets[items], self.ids.offsets[items + 1]
        offsets = np.zeros(len(items) + 1, np.int64)
        np.cumsum(ends - begins, out=offsets[1:])
        blob = np.empty(offsets[-1], np.uint8)
        for start in range(0, len(items), _GATHERED):
            some = slice(start, start + _GATHERED)
            shift = np.repeat(begins[some] - offsets[:-1][some], (ends - begins)[some])
            first = offsets[start]
            blob[first : first + len(shift)] = self.ids.blob[shift + np.arange(first, first + len(shift))]
        return Ids(offsets, blob)


def texts_of(ids: Ids, start: int, end: int) -> list[bytes]:
    """Some ids, as they are encoded."""
    offsets = ids.offsets[start : end + 1]
    data, places = ids.blob[offsets[0] : offsets[-1]].tobytes(), (offsets - offsets[0]).tolist()
    return [data[begin:end] for begin, end in pairwise(places)]


def _text(lines: Lines, i: int) -> str:
    return item_text(lines.titles[i], lines.descriptions[i], lines.attributes[i])


def _hashes(lines: Lines) -> list[bytes]:
    """Of what decides the embeddings, as `encode` makes them."""
    blake = hashlib.blake2b
    return [
        blake(data, digest_size=16).digest() if data is not None else text_hash(_text(lines, i))
        for i, data in enumerate(lines.embeddings)
    ]


def _records(lines: Lines, quantized: Quantized) -> list[bytes]:
    """Encoded `ItemRecord`s of live items on their own paths."""
    paths = quantized.paths.tolist()
    columns = (
        lines.titles, lines.descriptions, lines.attributes, lines.popularities, lines.times_us,
        repeat(False), paths, paths, quantized.errors, _hashes(lines), lines.topics, repeat(0), lines.offsets,
    )  # fmt: skip
    return list(map(_encode_by_name, zip(*columns, strict=False)))


def _gone(event: Delete) -> bytes:
    return _encode(ItemRecord("", "", {}, 0.0, event.event_time_us, True, 0, 0, 0.0, b"", *event.source.position))


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
        return _Part(folded.numbers, np.arange(len(folded.numbers)), [])
    place_of = {number: place for place, number in enumerate(folded.numbers.tolist())}
    final = np.array([place_of[number] for number in folded.final.tolist()], np.intp)
    return _Part(folded.numbers, final, folded.again)


def _windows(folded: Folded) -> Windows:
    if folded.said:
        said = map(folded.said.get, folded.ids)
        return Windows.of(None if entry is None else entry.windows for entry in said)
    nothing = Windows.of([])
    return Windows(len(folded.ids), nothing.fact_rows, nothing.windows)


def _content(record: bytes) -> tuple[object, ...]:
    """What tells a change from the same again."""
    found = _decode_record(record)
    return found.title, found.description, found.attributes, found.popularity, found.path_key, found.content_hash
