"""Item files (JSON lines, also .gz, - for standard input): straight into a catalog, or published to its worker."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.bulk_lines import Phases
from neo_runtime.catalog.bulk_vectors import Rows
from neo_runtime.catalog.bulkload import bulk_load, is_empty
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import FILE_PREFIX, Availability, Delete, Event, Rejected, Upsert
from neo_runtime.config import Settings
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.bulk_aside import parsed
from neo_runtime.ingest.bulk_chunks import BYTE_ORDER_MARK, Source, chunks, line_count
from neo_runtime.ingest.bulk_parse import Parser
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.types import Position

STANDARD_INPUT = "-"
BATCH = 1_000
SHOWN_ERRORS = 5
_COPIED = 1 << 20  # bytes at once


def load_files(
    catalog: Catalog, files: Sequence[str], phases: Phases | None = None, *, embeddings: Path | None = None
) -> dict[str, int]:
    """Every line as if it had come as an event; returns how many did what. Loading again changes nothing.

    Into an empty catalog all at once (`catalog.bulkload`, which says where that differs), else in batches. Bad lines
    become dead letters that name file and line. `embeddings`: a .npy file of float32 [lines, dimension], row i for
    line i over all files, blank lines aside; a line's own embedding goes first. StartupError where a file cannot be
    read, or the rows are not as many as the lines.
    """
    phases = phases or Phases()
    if not is_empty(catalog):
        return load_in_batches(catalog, files, phases, embeddings)
    with _on_disk(catalog.store.path, files) as sources:
        with phases.timed("read"):
            total = line_count(sources)
            vectors = _vectors(embeddings, total)
        lines = chunks(sources, vectors, time.time_ns() // 1_000)
        parser = Parser(catalog.codebooks, has_embedder=catalog.encoder.embedder is not None)
        with closing(parsed(parser, lines, sum(path.stat().st_size for _, path in sources))) as found:
            return _totals([bulk_load(catalog, found, total, partial(_read_again, sources), phases, vectors)])


def load_in_batches(
    catalog: Catalog, files: Sequence[str], phases: Phases, embeddings: Path | None = None
) -> dict[str, int]:
    """As events, whatever the catalog holds already."""
    applied, done, now_us = list[Applied](), 0, time.time_ns() // 1_000
    with _on_disk(catalog.store.path, files) as sources, phases.timed("load"):
        total = line_count(sources)
        vectors = _vectors(embeddings, total)
        lines = _positions(sources)
        while batch := list(islice(lines, BATCH)):
            given = [None] * len(batch) if vectors is None else list(vectors.read(done, len(batch)))
            applied.append(
                catalog.apply(
                    [decode_line(line, at, now_us, row) for (at, line), row in zip(batch, given, strict=True)]
                )
            )
            done += len(batch)
            phases.advance("loading", done, total)
    return _totals(applied)


def _totals(applied: Sequence[Applied]) -> dict[str, int]:
    names = Applied.__dataclass_fields__
    totals = {name: sum(getattr(one, name) for one in applied) for name in names}
    return totals | {"generation": applied[-1].generation if applied else 0}


@contextmanager
def _on_disk(folder: Path, files: Sequence[str]) -> Iterator[list[Source]]:
    """Files that can be read twice, with the names that they were given by."""
    with ExitStack() as stack:
        sources = []
        for name in files:
            if name == STANDARD_INPUT:
                kept = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, suffix=".jsonl"))
                shutil.copyfileobj(sys.stdin.buffer, kept, _COPIED)
                kept.flush()
                sources.append(Source(name, Path(kept.name)))
            else:
                sources.append(Source(name, Path(name)))
        yield sources


def _positions(sources: Sequence[Source]) -> Iterator[tuple[Position, bytes]]:
    for name, path in sources:
        for number, line in read_lines(str(path)):
            yield Position(FILE_PREFIX + name, 0, number), line


def _read_again(sources: Sequence[Source], positions: Collection[Position]) -> dict[Position, bytes]:
    wanted = set(positions)
    return {position: line for position, line in _positions(sources) if position in wanted}


def _vectors(file: Path | None, lines: int) -> Rows | None:
    """StartupError where it does not hold a row for every line."""
    if file is None:
        return None
    try:
        rows = Rows(file)
    except (OSError, ValueError) as error:
        raise StartupError(f"{file} is no .npy file of embeddings: {error}") from error
    if len(rows) != lines:
        raise StartupError(
            f"{file} has {len(rows):,} rows, the files {lines:,} lines that are not blank; one row for each"
        )
    return rows


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
