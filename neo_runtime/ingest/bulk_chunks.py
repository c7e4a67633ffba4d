"""Item files as chunks of thousands of lines, which can be parsed elsewhere."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.bulk_vectors import Rows
from neo_runtime.catalog.item import FILE_PREFIX, Event
from neo_runtime.errors import StartupError
from neo_runtime.ingest.line import decode_line
from neo_runtime.types import Position

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHUNK_LINES, CHUNK_BYTES = 65_536, 64 << 20  # about
_READ_BYTES = 1 << 20
_FIRST, _BRACE, _END = itemgetter(0), ord("{"), ord("\n")


class Source(NamedTuple):
    """An item file, and the name that its lines' positions give it."""

    name: str
    path: Path


class Piece(NamedTuple):
    """Whole lines of one file, the first of them with this number."""

    topic: str
    number: int
    text: bytes


class Lines(NamedTuple):
    """Those that are not blank, each with its position."""

    topics: list[str]
    numbers: list[int]
    texts: list[bytes]


@dataclass(frozen=True)
class Chunk:
    """`count` lines that are not blank, with `first` of them before. Row i of `rows` is the embedding of line i over
    all files, where it holds none.
    """

    first: int
    count: int
    pieces: list[Piece]
    rows: Rows | None
    now_us: int

    @property
    def topics(self) -> list[str]:
        return list(dict.fromkeys(piece.topic for piece in self.pieces))

    @cached_property
    def lines(self) -> Lines:
        found = Lines([], [], [])
        for topic, number, text in self.pieces:
            some = text.split(b"\n")
            if not some[-1]:
                some.pop()
            numbers: Sequence[int] = range(number, number + len(some))
            if not all(some) or (set(map(_FIRST, some)) != {_BRACE} and not all(map(bytes.strip, some))):
                kept = [i for i, line in enumerate(some) if line.strip()]
                numbers, some = [numbers[i] for i in kept], [some[i] for i in kept]
            found.topics.extend([topic] * len(some))
            found.numbers.extend(numbers)
            found.texts.extend(some)
        return found

    def event(self, place: int) -> Event:
        """By `line.decode_line` alone."""
        topics, numbers, texts = self.lines
        vector = None if self.rows is None else self.rows.read(self.first + place, 1)[0]
        return decode_line(
            texts[place].rstrip(b"\r\n"), Position(topics[place], 0, numbers[place]), self.now_us, vector
        )


def line_count(sources: Sequence[Source]) -> int:
    """Lines that are not blank. StartupError where a file cannot be read."""
    return sum(count for _, path in sources for _, count, _ in _read(path))


def chunks(sources: Sequence[Source], rows: Rows | None, now_us: int) -> Iterator[Chunk]:
    """All lines in order, over the bounds of files. StartupError where a file cannot be read."""
    pieces, first, count, size = list[Piece](), 0, 0, 0
    for name, path in sources:
        for number, some, text in _read(path):
            pieces.append(Piece(FILE_PREFIX + name, number, text))
            count += some
            size += len(text)
            if count >= CHUNK_LINES or size >= CHUNK_BYTES:
                yield Chunk(first, count, pieces, rows, now_us)
                pieces, first, count, size = [], first + count, 0, 0
    if count:
        yield Chunk(first, count, pieces, rows, now_us)


def _read(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Pieces of whole lines: the number of the first, from 1 on, and how many are not blank."""
    number = 1
    try:
        with _opened(path) as file:
            while text := file.read(_READ_BYTES):
                text += file.readline()
                if number == 1:
                    text = text.removeprefix(BYTE_ORDER_MARK)
                ends, filled = _counts(text)
                yield number, filled, text
                number += ends
    except (OSError, EOFError, zlib.error) as error:
        raise StartupError(f"{path} cannot be read: {error}") from error


def _counts(text: bytes) -> tuple[int, int]:
    """Ends of lines, and lines that are not blank."""
    if not text:
        return 0, 0
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == _END)
    begins = ends + 1 if text.endswith(b"\n") else np.append(ends + 1, 0)  # of other lines, with the first for the last
    begins[begins == len(text)] = 0
    if (data[begins] == _BRACE).all():  # nearly always
        return len(ends), len(begins)
    return len(ends), sum(1 for line in text.split(b"\n") if line.strip())


def _opened(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path), _READ_BYTES)
    return path.open("rb")
