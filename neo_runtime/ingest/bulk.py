"""Item files (JSON lines, also .gz, - for standard input): straight into a catalog, or published to its worker."""

from __future__ import annotations

import gzip
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import FILE_PREFIX, Availability, Delete, Event, Rejected, Upsert
from neo_runtime.config import Settings
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.types import Position

STANDARD_INPUT = "-"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BATCH = 1_000
SHOWN_ERRORS = 5
Progress = Callable[[int, int], None]
"""Told how many lines are done, and of how many; 0 where that is not known."""


def load_files(catalog: Catalog, files: Sequence[str], progress: Progress = lambda done, total: None) -> dict[str, int]:
    """Every line as if it had come as an event, in batches; returns how many did what.

    Loading again changes nothing. Bad lines become dead letters that name file and line. StartupError where a file
    cannot be read.
    """
    total = sum(count_lines(name) for name in files)
    totals = dict.fromkeys(Applied.__dataclass_fields__, 0)
    now_us, done = time.time_ns() // 1_000, 0
    lines = ((Position(FILE_PREFIX + name, 0, number), line) for name in files for number, line in read_lines(name))
    while batch := list(islice(lines, BATCH)):
        applied = catalog.apply([decode_line(line, position, now_us) for position, line in batch])
        for name in totals:
            totals[name] += getattr(applied, name)
        totals["generation"] = applied.generation
        done += len(batch)
        progress(done, total)
    return totals


def publish_files(settings: Settings, files: Iterable[str]) -> dict[str, object]:
    """All lines of all files as events, or none: EventError names the bad ones. They are checked in memory first."""
    numbered = [(f"{name}, line {number}", line) for name in files for number, line in read_lines(name)]
    return publish_lines(settings, [line for _, line in numbered], [place for place, _ in numbered])


def publish_lines(settings: Settings, lines: list[bytes], places: Sequence[str] = ()) -> dict[str, object]:
    """To Kafka where the settings name brokers, else to the catalog's event file."""
    events = checked(lines, places)
    if settings.kafka_bootstrap:
        from neo_runtime.ingest.producing import publish_events

        topics = [settings.availability_topic if isinstance(e, Availability) else settings.items_topic for e in events]
        publish_events(settings.kafka_bootstrap, zip(topics, events, strict=True))
        return {"events": len(events), "to": ", ".join(dict.fromkeys(topics))}
    if not (settings.catalog / "data.mdb").exists():
        raise StartupError(f"no catalog in {settings.catalog}, and no Kafka given; set --catalog or --kafka")
    path = settings.catalog / eventfile.NAME
    eventfile.append(path, lines)
    return {"events": len(events), "to": str(path)}


def checked(lines: list[bytes], places: Sequence[str] = ()) -> list[Upsert | Delete | Availability]:
    """The events of all lines; EventError, naming the first bad lines, where any is wrong."""
    now_us = time.time_ns() // 1_000
    events: list[Event] = [
        check(decode_line(line, Position("line", 0, number), now_us)) for number, line in enumerate(lines, start=1)
    ]
    bad = [event for event in events if isinstance(event, Rejected)]
    if bad:
        places = places or [f"line {number}" for number in range(1, len(lines) + 1)]
        shown = "; ".join(
            f"{places[e.source.position.offset - 1]}: {e.message} [{e.reason}]" for e in bad[:SHOWN_ERRORS]
        )
        more = f"; and {len(bad) - SHOWN_ERRORS} more" if len(bad) > SHOWN_ERRORS else ""
        raise EventError(f"nothing was published: {len(bad)} of {len(lines)} lines are wrong: {shown}{more}")
    return [event for event in events if isinstance(event, Upsert | Delete | Availability)]


def read_upserts(files: Iterable[Path]) -> list[Upsert]:
    """The items of files that must be right: EventError at the first line that is not."""
    events = checked([line for path in files for _, line in read_lines(str(path))])
    return [event for event in events if isinstance(event, Upsert)]


def count_lines(name: str) -> int:
    """Lines that `read_lines` will give; 0 for standard input, which can be read only once."""
    return 0 if name == STANDARD_INPUT else sum(1 for _ in read_lines(name))


def read_lines(name: str) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line); blank lines left out. StartupError where the file is missing or cut."""
    try:
        if name == STANDARD_INPUT:
            yield from _numbered(sys.stdin.buffer)
            return
        with gzip.open(name) if name.endswith(".gz") else Path(name).open("rb") as file:
            yield from _numbered(file)
    except (OSError, EOFError, zlib.error) as error:
        raise StartupError(f"{name} cannot be read: {error}") from error


def _numbered(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        if text.strip():
            yield number, text.rstrip(b"\r\n")
