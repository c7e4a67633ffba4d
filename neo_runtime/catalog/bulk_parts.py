"""Upserts of one type as a catalog keeps them, less their SIDs: what parsing a chunk gives."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_columns import columns_of, flat
from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.catalog.bulk_runs import Entries, Halves, Run, run_of
from neo_runtime.catalog.encode import text_hash
from neo_runtime.catalog.item import Event, ItemRecord
from neo_runtime.embed.base import item_text
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.space import Keys
from neo_runtime.trie.columns import Columns

QUANTIZED = 4_096  # embeddings at once: their distances stay in the cache

_encode = msgspec.msgpack.encode
_encode_by_name = msgspec.msgpack.Encoder(order="deterministic").encode  # attributes in the order of their names
_OPEN = bytes([0x90 + len(ItemRecord.__struct_fields__)])  # the array around them all


class Part(NamedTuple):
    """`places[i]`: of entry i among the lines of its chunk. `embeddings` None: all are rows of the file given beside
    the lines. Those of the entries `without` are still to be made, of `texts`; until then nobody has a path.
    """

    item_type: str
    places: NDArray[np.int32]
    ids: list[bytes]
    records: list[Halves]
    times_us: NDArray[np.int64]
    popularities: NDArray[np.float64]
    columns: Columns
    embeddings: Floats | None
    without: NDArray[np.intp]
    texts: list[str]
    paths: Keys
    errors: Floats
    run: Run | None = None
    """In the place of ids and records, where no other lines come between."""

    def entries(self) -> Entries:
        count = len(self.ids)
        return Entries(self.ids, list(range(count)), [None] * count)

    def sorted(self) -> Part:
        return self._replace(run=run_of(self.entries(), self.records), ids=[], records=[])

    def quantized(self, codebook: Codebook, embeddings: Floats) -> tuple[Part, list[int]]:
        """With paths and errors; and the places of those left out, whose embeddings are not finite."""
        codes, errors = [], []
        for start in range(0, len(embeddings), QUANTIZED):
            some_codes, some_errors = codebook.encode(embeddings[start : start + QUANTIZED])
            codes.append(codebook.space.pack(some_codes))
            errors.append(some_errors)
        found = self._replace(paths=flat(codes, np.uint64), errors=flat(errors, np.float32))
        is_finite = np.asarray(np.isfinite(embeddings).all(axis=1))
        if is_finite.all():
            return found, []
        return found._take(is_finite.nonzero()[0]), self.places[~is_finite].tolist()

    def _take(self, kept: NDArray[np.intp]) -> Part:
        return Part(
            self.item_type, self.places[kept], [self.ids[i] for i in kept.tolist()],
            [self.records[i] for i in kept.tolist()], self.times_us[kept], self.popularities[kept],
            self.columns.take(kept),
            None if self.embeddings is None else self.embeddings[kept], kept[:0], [], self.paths[kept],
            self.errors[kept],
        )  # fmt: skip


@dataclass(slots=True)
class Parsed:
    """What lines are, as far as they are upserts that keep all rules; `others`: the places of all other lines."""

    parts: list[Part]
    others: list[int]


class Chunk(Protocol):
    """Some lines in the order of their files."""

    @property
    def first(self) -> int:
        """Lines before it."""

    @property
    def count(self) -> int: ...

    @property
    def topics(self) -> Collection[str]:
        """Of the lines' positions, in their order."""

    def event(self, place: int) -> Event:
        """What a line is to those that take one event at a time."""


def part_of(codebook: Codebook, lines: Lines, rows: Floats | None) -> tuple[Part, list[int]]:
    """`lines` are all of the codebook's type and keep the rules, `rows`: embeddings by the lines' places. Places of
    those whose embeddings are not finite are apart.
    """
    given, without, places = lines.embeddings, list[int](), np.array(lines.places, np.int32)
    if None in given:
        without = [i for i, data in enumerate(given) if data is None]
    if rows is not None and not any(type(data) is bytes for data in given):
        embeddings, is_apart = rows if len(places) == len(rows) else rows[places], False
    else:
        unknown, is_apart = bytes(4 * codebook.dimension), True
        data = b"".join([unknown if data is None else data for data in given])
        embeddings = np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(-1, codebook.dimension)
    part = Part(
        codebook.item_type, places, [text.encode() for text in lines.ids], _halves(lines),
        np.array(lines.times_us, np.int64), np.array(lines.popularities, np.float64),
        columns_of(lines.values(), len(lines.ids)), embeddings if is_apart else None,
        np.array(without, np.intp), [_text(lines, i) for i in without], np.empty(0, np.uint64), np.empty(0, np.float32),
    )  # fmt: skip
    return (part, []) if without else part.quantized(codebook, embeddings)


def whole(halves: Halves, sid: int, path: int, error: float) -> bytes:
    """The encoded record."""
    return halves[0] + _encode((sid, path, error))[1:] + halves[1]


def halves_of(record: ItemRecord) -> Halves:
    fields = msgspec.structs.astuple(record)
    return _OPEN + _encode(fields[:6])[1:], _encode(fields[9:])[1:]


def _halves(lines: Lines) -> list[Halves]:
    """Of live items."""
    begin = (lines.titles, lines.descriptions, lines.attributes, lines.popularities, lines.times_us, repeat(False))
    end = (_hashes(lines), lines.topics, repeat(0), lines.offsets)
    tails = map(_encode, zip(*end, strict=False))
    return [
        (_OPEN + head[1:], tail[1:])
        for head, tail in zip(map(_encode_by_name, zip(*begin, strict=False)), tails, strict=True)
    ]


def _hashes(lines: Lines) -> list[bytes]:
    """Of what decides the embeddings, as `encode` makes them."""
    blake = hashlib.blake2b
    return [
        blake(data, digest_size=16).digest() if data is not None else text_hash(_text(lines, i))
        for i, data in enumerate(lines.embeddings)
    ]


def _text(lines: Lines, i: int) -> str:
    return item_text(lines.titles[i], lines.descriptions[i], lines.attributes[i])
