"""Item files as chunks of decoded lines, for a bulk load: thousands of lines in one call of the decoder.

A line is judged by `line.decode_line` alone wherever it is not an upsert without any doubt.
"""

from __future__ import annotations

import base64
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.catalog.item import FILE_PREFIX, Event
from neo_runtime.errors import StartupError
from neo_runtime.ingest.event import LAST_US
from neo_runtime.ingest.line import ItemLine, decode_line, micros
from neo_runtime.sid.codebook import Floats
from neo_runtime.types import Position

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHUNK_LINES, CHUNK_BYTES = 65_536, 64 << 20
_READ_BYTES = 4 << 20
_BLOCK = 512  # lines decoded at once: where one is bad, so many are decoded again

# An element of its own between two lines. No line can hold one half of it, or of what it stands in: a string ends
# where its line does, and null is no member of an object, of a list of numbers, texts or windows.
_BETWEEN = b"\n,null,"
_FIRST, _BRACE = itemgetter(0), ord("{")
_decode_block = msgspec.json.Decoder(list[ItemLine | None]).decode
_decode_one = msgspec.json.Decoder(ItemLine).decode


class Source(NamedTuple):
    """An item file, and the name that its lines' positions give it."""

    name: str
    path: Path


def line_count(sources: Sequence[Source]) -> int:
    """Lines that are not blank. StartupError where a file cannot be read."""
    return sum(len(lines) for _, path in sources for _, lines in _read(path))


class Rows:
    """The rows of a .npy file, read and not mapped: pages that a map has shown count as memory until it is closed.

    ValueError or OSError where the file does not hold float32 [n, dimension].
    """

    def __init__(self, file: Path) -> None:
        mapped = np.load(file, mmap_mode="r")
        if mapped.dtype != np.float32 or mapped.ndim != 2 or not mapped.flags.c_contiguous:
            raise ValueError(f"it holds {mapped.dtype} {list(mapped.shape)}, not float32 [n, dimension], row by row")
        self._file, self._start, self._shape = file, mapped.offset, mapped.shape

    def __len__(self) -> int:
        return int(self._shape[0])

    def read(self, first: int, count: int) -> Floats:
        width = int(self._shape[1])
        found: Floats = np.fromfile(self._file, np.float32, count * width, offset=self._start + 4 * first * width)
        return found.reshape(count, width)


def chunks(sources: Sequence[Source], vectors: Rows | None, now_us: int) -> Iterator[Lines]:
    """All lines that are not blank, in order. Row i of `vectors` is the embedding of line i over all files, where it
    holds none.

    StartupError where a file cannot be read.
    """
    first = 0
    for topics, numbers, lines in _filled(sources):
        given = None if vectors is None else vectors.read(first, len(lines))
        yield _Chunk(topics, numbers, lines, given, now_us).decoded()
        first += len(lines)


def _filled(sources: Sequence[Source]) -> Iterator[tuple[list[str], list[int], list[bytes]]]:
    """Chunks of topics, line numbers and lines, over the bounds of files."""
    topics, numbers, lines, size = list[str](), list[int](), list[bytes](), 0
    for name, path in sources:
        for some_numbers, some in _read(path):
            topics += [FILE_PREFIX + name] * len(some)
            numbers += some_numbers
            lines += some
            size += sum(map(len, some))
            while len(lines) >= CHUNK_LINES or size >= CHUNK_BYTES:
                yield topics[:CHUNK_LINES], numbers[:CHUNK_LINES], lines[:CHUNK_LINES]
                topics, numbers, lines = topics[CHUNK_LINES:], numbers[CHUNK_LINES:], lines[CHUNK_LINES:]
                size = sum(map(len, lines))
    if lines:
        yield topics, numbers, lines


def _read(path: Path) -> Iterator[tuple[list[int], list[bytes]]]:
    """Numbers, from 1 on, and lines with their ends, blank ones left out."""
    number = 1
    try:
        with _opened(path) as file:
            while some := file.readlines(_READ_BYTES):
                if number == 1:
                    some[0] = some[0].removeprefix(BYTE_ORDER_MARK)
                numbers = list(range(number, number + len(some)))
                number += len(some)
                if set(map(_FIRST, some)) != {_BRACE} and not all(map(bytes.strip, some)):
                    kept = [i for i, line in enumerate(some) if line.strip()]
                    numbers, some = [numbers[i] for i in kept], [some[i] for i in kept]
                yield numbers, some
    except (OSError, EOFError, zlib.error) as error:
        raise StartupError(f"{path} cannot be read: {error}") from error


def _opened(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path), _READ_BYTES)
    return path.open("rb")


class _Chunk:
    """Some lines, to be decoded once."""

    def __init__(
        self, topics: list[str], numbers: list[int], lines: list[bytes], vectors: Floats | None, now_us: int
    ) -> None:
        self._topics, self._numbers, self._lines, self._now_us = topics, numbers, lines, now_us
        self._vectors = vectors

    def decoded(self) -> Lines:
        items = self._items()
        found = Lines(self._event, len(self._lines), list(dict.fromkeys(self._topics)))
        plain = [place for place, item in enumerate(items) if item and not item.deleted and item.windows is _UNSET]
        self._fill(found, plain, [item for item in items if item and not item.deleted and item.windows is _UNSET])
        if len(plain) < len(items):
            among = set(plain)
            found.others = [(place, self._event(place)) for place in range(len(items)) if place not in among]
        return found

    def _items(self) -> list[ItemLine | None]:
        """None where a line is bad."""
        items: list[ItemLine | None] = []
        for start in range(0, len(self._lines), _BLOCK):
            block = self._lines[start : start + _BLOCK]
            items += _decoded_block(block) or map(_decoded, block)
        return items

    def _fill(self, found: Lines, places: list[int], items: list[ItemLine]) -> None:
        times = [self._now_us if item.event_time is None else micros(item.event_time) for item in items]
        embeddings = self._embeddings(places, items)
        doubtful = {
            entry for entry, (item, embedding) in enumerate(zip(items, embeddings, strict=True))
            if embedding is None and (item.embedding is not None or item.embedding_model)
        }  # fmt: skip
        if times and not 0 <= min(times) <= max(times) <= LAST_US:
            doubtful.update(entry for entry, time_us in enumerate(times) if not 0 <= time_us <= LAST_US)
        found.places, found.times_us, found.embeddings = places, times, embeddings
        found.types, found.ids = [item.type for item in items], [item.id for item in items]
        found.titles, found.descriptions = [item.title for item in items], [item.description for item in items]
        found.attributes = [item.attributes for item in items]
        found.popularities = [item.popularity for item in items]
        found.models = [item.embedding_model for item in items]
        topics, numbers = self._topics, self._numbers
        found.topics, found.offsets = [topics[place] for place in places], [numbers[place] for place in places]
        if doubtful:
            found.others = [(places[entry], self._event(places[entry])) for entry in sorted(doubtful)]
            found.keep([entry for entry in range(len(items)) if entry not in doubtful])

    def _embeddings(self, places: list[int], items: list[ItemLine]) -> list[bytes | None]:
        """None where there is none, or none that is right."""
        given = [item.embedding for item in items]
        if self._vectors is None or not len(items):
            return [None if embedding is None else _bytes(embedding) for embedding in given]
        width = 4 * self._vectors.shape[1]
        data = np.ascontiguousarray(self._vectors, "<f4").tobytes()
        return [
            data[place * width : (place + 1) * width] if embedding is None else _bytes(embedding)
            for place, embedding in zip(places, given, strict=True)
        ]

    def _event(self, place: int) -> Event:
        position = Position(self._topics[place], 0, self._numbers[place])
        vector = None if self._vectors is None else self._vectors[place]
        return decode_line(self._lines[place].rstrip(b"\r\n"), position, self._now_us, vector)


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
