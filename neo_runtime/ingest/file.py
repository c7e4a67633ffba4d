"""Item files (JSON lines, also .gz, - for standard input): into a catalog without a broker, or onto Kafka."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, Event, Rejected, Upsert
from neo_runtime.errors import StartupError
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.event import JSON, encode
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.publisher import KafkaDelivery, KafkaSink
from neo_runtime.types import Position

STANDARD_INPUT = "-"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
KEPT_BAD_LINES = 100
SENT_AT_ONCE = 1_000
DELIVERY_WAIT_S = 30.0

Progress = Callable[[int], None]
"""Told the number of lines that are done."""


class BadLine(NamedTuple):
    """A line that no catalog takes, counted from 1."""

    line: int
    reason: str
    message: str


class BadFileError(StartupError):
    """Nothing was published because of bad lines. Operator action: mend the lines that `bad_lines` names."""

    reason = "BAD_ITEM_FILE"

    def __init__(self, path: str, bad_lines: list[BadLine], count: int) -> None:
        shown = "; ".join(f"line {bad.line}: {bad.message} [{bad.reason}]" for bad in bad_lines[:5])
        more = f"; and {count - 5} more" if count > 5 else ""
        super().__init__(f"{path}: {count} bad lines, nothing was published: {shown}{more}")
        self.bad_lines, self.count = bad_lines, count


@dataclass(slots=True)
class LoadTotals:
    """What loading a file did. `bad_lines` names the first of the dead letters."""

    lines: int = 0
    upserted: int = 0
    deleted: int = 0
    unchanged: int = 0
    stale: int = 0
    unknown_deletes: int = 0
    dead_letters: int = 0
    generation: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)

    def add(self, lines: int, applied: Applied) -> None:
        """Count one batch."""
        self.lines += lines
        self.generation = applied.generation
        for name in ("upserted", "deleted", "unchanged", "stale", "unknown_deletes", "dead_letters"):
            setattr(self, name, getattr(self, name) + getattr(applied, name))


@dataclass(slots=True)
class Published:
    """What publishing a file did. `positions`: the last record in every partition it went to."""

    events: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)


def load_file(
    catalog: Catalog, path: Path | str, batch: int = 1_000, progress: Progress = lambda lines: None
) -> LoadTotals:
    """Apply a file as if its lines had come as events; bad lines become dead letters. Doing it again is harmless.

    StartupError where the file is missing or cut.
    """
    totals = LoadTotals()
    with closing(_events(path)) as events:
        while run := list(islice(events, batch)):
            applied = catalog.apply(run)
            totals.add(len(run), applied)
            if applied.dead_letters:
                totals.bad_lines += _newest_dead_letters(catalog, applied.dead_letters)
                del totals.bad_lines[KEPT_BAD_LINES:]
            progress(totals.lines)
    return totals
