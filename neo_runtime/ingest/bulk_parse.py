"""Chunks of item lines to what a bulk load keeps of them: thousands of lines in one call of the decoder.

A line is judged by `line.decode_line` alone wherever it is not an upsert without any doubt.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import numpy as np

from neo_runtime.catalog.bulk_check import suspects
from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.catalog.bulk_parts import Parsed, part_of
from neo_runtime.catalog.encode import check_upsert
from neo_runtime.catalog.item import Event, Upsert
from neo_runtime.errors import EventError
from neo_runtime.ingest.bulk_chunks import Chunk
from neo_runtime.ingest.event import LAST_US
from neo_runtime.ingest.line import ItemLine, micros
from neo_runtime.sid.codebook import Codebook, Floats

_BLOCK = 512  # lines decoded at once: where one is bad, so many are decoded again

# An element of its own between two lines. No line can hold one half of it, or of what it stands in: a string ends
# where its line does, and null is no member of an object, of a list of numbers, texts or windows.
_BETWEEN = b"\n,null,"
_decode_block = msgspec.json.Decoder(list[ItemLine | None]).decode
_decode_one = msgspec.json.Decoder(ItemLine).decode


@dataclass(frozen=True)
class Parser:
    """For a catalog with these codebooks."""

    codebooks: Mapping[str, Codebook]
    has_embedder: bool

    def parse(self, chunk: Chunk) -> Parsed:
        items = _items(chunk.lines.texts)
        rows = None if chunk.rows is None else chunk.rows.read(chunk.first, chunk.count)
        plain = [place for place, item in enumerate(items) if item and not item.deleted and item.windows is _UNSET]
        lines = Lines()
        others = set(range(len(items))).difference(plain) if len(plain) < len(items) else set[int]()
        others |= _fill(lines, chunk, rows, plain, [item for place in plain if (item := items[place])])
        found = suspects(lines, self.codebooks, has_embedder=self.has_embedder)
        bad = {entry for entry in found if not self._does(chunk.event(lines.places[entry]))}
        if bad:
            others |= {lines.places[entry] for entry in bad}
            lines.keep([entry for entry in range(len(lines.ids)) if entry not in bad])
        are_mixed = any(items[place] for place in others)  # deletions, or availability
        parts = []
        for name in sorted(set(lines.types)):
            part, not_finite = part_of(self.codebooks[name], lines.of_type(name), rows)
            parts.append(part if part.texts or are_mixed else part.sorted())
            others.update(not_finite)
        return Parsed(parts, sorted(others))

    def _does(self, event: Event) -> bool:
        if not isinstance(event, Upsert):
            return False
        try:
            check_upsert(event, self.codebooks, has_embedder=self.has_embedder)
        except EventError:
            return False
        return True


def _items(texts: list[bytes]) -> list[ItemLine | None]:
    """None where a line is bad."""
    items: list[ItemLine | None] = []
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        items += _decoded_block(block) or map(_decoded, block)
    return items


def _fill(found: Lines, chunk: Chunk, rows: Floats | None, places: list[int], items: list[ItemLine]) -> set[int]:
    """Places of lines that are left out, since they may be wrong."""
    now_us = chunk.now_us
    times = [now_us if item.event_time is None else micros(item.event_time) for item in items]
    embeddings = _embeddings(rows, places, items)
    doubtful = {
        entry for entry, (item, embedding) in enumerate(zip(items, embeddings, strict=True))
        if embedding is None and (item.embedding is not None or item.embedding_model)
    } if None in embeddings else set[int]()  # fmt: skip
    if times and not 0 <= min(times) <= max(times) <= LAST_US:
        doubtful.update(entry for entry, time_us in enumerate(times) if not 0 <= time_us <= LAST_US)
    found.places, found.times_us, found.embeddings = places, times, embeddings
    found.types, found.ids = [item.type for item in items], [item.id for item in items]
    found.titles, found.descriptions = [item.title for item in items], [item.description for item in items]
    found.attributes = [item.attributes for item in items]
    found.popularities = [item.popularity for item in items]
    found.models = [item.embedding_model for item in items]
    topics, numbers, _ = chunk.lines
    found.topics, found.offsets = [topics[place] for place in places], [numbers[place] for place in places]
    left_out = {places[entry] for entry in doubtful}
    if doubtful:
        found.keep([entry for entry in range(len(items)) if entry not in doubtful])
    return left_out


def _embeddings(rows: Floats | None, places: list[int], items: list[ItemLine]) -> list[bytes | memoryview | None]:
    """None where there is none, or none that is right."""
    given = [item.embedding for item in items]
    if rows is None or not items:
        return [None if embedding is None else _bytes(embedding) for embedding in given]
    width, data = 4 * rows.shape[1], memoryview(np.ascontiguousarray(rows, "<f4").data).cast("B")
    return [
        data[place * width : (place + 1) * width] if embedding is None else _bytes(embedding)
        for place, embedding in zip(places, given, strict=True)
    ]


_UNSET = msgspec.UNSET


def _decoded_block(lines: list[bytes]) -> list[ItemLine] | None:
    """None where not every line is one object."""
    try:
        elements = _decode_block(b"[" + _BETWEEN.join(lines) + b"\n]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    items = [item for item in elements[::2] if item is not None]
    is_whole = len(items) == len(lines) and len(elements) == 2 * len(lines) - 1 and not any(elements[1::2])
    return items if is_whole else None


def _decoded(line: bytes) -> ItemLine | None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_one(line)
    return None


def _bytes(given: str | list[float]) -> bytes | None:
    if isinstance(given, list):
        with np.errstate(over="ignore"):
            return np.array(given, "<f4").tobytes()
    try:
        data = base64.b64decode(given, validate=True)
    except ValueError:
        return None
    return data if len(data) % 4 == 0 else None
