"""Item files: straight into a catalog, or published to the worker that keeps one."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, Event, Rejected, Upsert
from neo_runtime.config import Settings
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.types import Position

BATCH = 1_000
SHOWN_ERRORS = 5
Progress = Callable[[int, int], None]


def load_files(settings: Settings, files: Iterable[str], source: Path | None, policy: str, progress: Progress) -> dict[str, int]:
    """Every line into the settings' catalog, in batches; returns how many did what.

    Loading again changes nothing. Bad lines become dead letters that name file and line. StartupError: unreadable file.
    """
    lines = [(name, number, line) for name in files for number, line in read_lines(name)]
    catalog = open_or_create(settings, source=source, policy=policy)
    try:
        return _load(catalog, lines, progress)
    finally:
        catalog.close()


def _load(catalog: Catalog, lines: list[tuple[str, int, bytes]], progress: Progress) -> dict[str, int]:
    now_us = time.time_ns() // 1_000
    totals = dict.fromkeys(Applied.__dataclass_fields__, 0)
    for start in range(0, len(lines), BATCH):
        batch = lines[start : start + BATCH]
        events = [decode_line(line, Position(f"file:{name}", 0, number), now_us) for name, number, line in batch]
        applied = catalog.apply(events)
        for name in totals:
            totals[name] += getattr(applied, name)
        totals["generation"] = applied.generation
        progress(start + len(batch), len(lines))
    return totals


def publish_files(settings: Settings, files: Iterable[str]) -> dict[str, object]:
    """All lines of all files as events, or none: EventError names the bad lines."""
    return publish_lines(settings, [line for name in files for _, line in read_lines(name)])


def publish_lines(settings: Settings, lines: list[bytes]) -> dict[str, object]:
    """To Kafka where the settings name brokers, else to the catalog's event file."""
    events = checked(lines)
    if settings.kafka_bootstrap:
        from neo_runtime.ingest.producing import publish_events

        publish_events(settings.kafka_bootstrap, settings.items_topic, events)
        return {"events": len(events), "to": settings.items_topic}
    if not (settings.catalog / "data.mdb").exists():
        raise StartupError(f"no catalog in {settings.catalog}, and no Kafka given; set --catalog or --kafka")
    path = settings.catalog / eventfile.NAME
    eventfile.append(path, lines)
    return {"events": len(events), "to": str(path)}


def checked(lines: list[bytes]) -> list[Upsert | Delete]:
    """The events of all lines; EventError, naming the first bad lines, where any is wrong."""
    now_us = time.time_ns() // 1_000
    events: list[Event] = [
        check(decode_line(line, Position("line", 0, number), now_us)) for number, line in enumerate(lines, start=1)
    ]
    bad = [event for event in events if isinstance(event, Rejected)]
    if bad:
        shown = "; ".join(f"line {e.source.position.offset}: {e.message} [{e.reason}]" for e in bad[:SHOWN_ERRORS])
        raise EventError(f"nothing was published: {len(bad)} of {len(lines)} lines are wrong: {shown}")
    return [event for event in events if not isinstance(event, Rejected)]


def read_upserts(files: Iterable[Path]) -> list[Upsert]:
    """The items of files that must be right: EventError at the first line that is not."""
    events = checked([line for path in files for _, line in read_lines(str(path))])
    return [event for event in events if isinstance(event, Upsert)]


def read_lines(name: str) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line) of a file, a .gz file, or standard input for `-`; blank lines left out."""
    try:
        if name == "-":
            yield from _numbered(sys.stdin.buffer)
        else:
            with gzip.open(name) if name.endswith(".gz") else Path(name).open("rb") as file:
                yield from _numbered(file)
    except (OSError, EOFError) as error:
        raise StartupError(f"{name} cannot be read: {error}") from error


def _numbered(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, line.rstrip(b"\n")
