"""Upserts of one type as a catalog keeps them, less what follows from their embeddings: what parsing a chunk gives."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_columns import columns_of
from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.catalog.encode import text_hash
from neo_runtime.catalog.item import Event, ItemRecord
from neo_runtime.embed.base import item_text
from neo_runtime.sid.codebook import Floats
from neo_runtime.trie.columns import Columns

Halves = tuple[bytes, bytes]
"""An encoded ItemRecord without what stands in its middle: SID, path and error."""

_encode = msgspec.msgpack.encode
_encode_by_name = msgspec.msgpack.Encoder(order="deterministic").encode  # attributes in the order of their names
_OPEN = bytes([0x90 + len(ItemRecord.__struct_fields__)])  # the array around them all


class Part(NamedTuple):
    """`places[i]`: of entry i among the lines of its chunk. `inline`: entries whose line holds an embedding, which is
    in `given`. All others have one in the file beside the lines or, where there is none, `texts` to embed.
    """

    item_type: str
    places: NDArray[np.int32]
    ids: list[bytes]
    times_us: NDArray[np.int64]
    popularities: NDArray[np.float64]
    records: list[Halves]
    columns: Columns
    inline: NDArray[np.intp]
    given: Floats
    texts: list[str]

    def take(self, kept: NDArray[np.intp]) -> Part:
        """Only these, whose embeddings are known."""
        return self._replace(
            places=self.places[kept],
            ids=[self.ids[i] for i in kept.tolist()],
            times_us=self.times_us[kept],
            popularities=self.popularities[kept],
            records=[self.records[i] for i in kept.tolist()],
            columns=self.columns.take(kept),
        )


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


def parts_of(lines: Lines) -> list[Part]:
    """One for each type."""
    return [part_of(name, lines.of_type(name)) for name in sorted(set(lines.types))]


def part_of(item_type: str, lines: Lines) -> Part:
    """`lines` are all of that type."""
    given = [data for data in lines.embeddings if isinstance(data, bytes)]
    inline = [i for i, data in enumerate(lines.embeddings) if isinstance(data, bytes)] if given else []
    texts = [_text(lines, i) for i, data in enumerate(lines.embeddings) if data is None]
    vectors = np.frombuffer(b"".join(given), "<f4").astype(np.float32, copy=False)
    return Part(
        item_type, np.array(lines.places, np.int32), [text.encode() for text in lines.ids],
        np.array(lines.times_us, np.int64), np.array(lines.popularities, np.float64),
        _halves(lines), columns_of(lines.values(), len(lines.ids)),
        np.array(inline, np.intp), vectors.reshape(len(given), -1 if given else 0), texts,
    )  # fmt: skip


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


def nothing(item_type: str) -> Part:
    return part_of(item_type, Lines())
