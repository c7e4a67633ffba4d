"""Keep a catalog up to date until told to stop: everything that a catalog worker does, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tenacity import RetryError

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Event, RawRecord
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.eventfile import TOPIC, EventFileSource
from neo_runtime.ingest.line import decode_line
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.outgoing import OutgoingEncoder
from neo_runtime.ingest.publisher import KafkaSink, Publisher
from neo_runtime.ingest.source import KafkaSource
from neo_runtime.ingest.topics import ensure_topics


def follow_kafka(
    catalog: Catalog, stop: threading.Event, *, bootstrap: str, items_topic: str, assignments_topic: str,
    partitions: int = 8, max_batch: int = 1_000, ready: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """From Kafka, and back to it. Waits for a broker that is not there yet; `ready` is called once it is.

    StartupError where a topic is missing and cannot be made, or does not fit the catalog's offsets.
    """
    outage = Outage(stop)

    def connect() -> IngestLoop:
        ensure_topics(bootstrap, items_topic, assignments_topic, partitions=partitions)
        with ExitStack() as undo:
            source = KafkaSource(bootstrap, items_topic, catalog.reader.offsets())
            undo.callback(source.close)
            sink = KafkaSink(bootstrap)
            fingerprints = {name: book.fingerprint for name, book in catalog.codebooks.items()}
            publisher = Publisher(catalog, sink, OutgoingEncoder(assignments_topic, fingerprints))
            undo.pop_all()
        return IngestLoop(catalog, source, publisher, max_batch=max_batch)

    try:
        loop = outage.retrying()(connect)
    except RetryError:
        return
    outage.over()
    ready()
    loop.run(stop)


def follow_file(catalog: Catalog, stop: threading.Event, path: Path, *, max_batch: int = 1_000) -> None:
    """From an event file that publishers append to. StartupError where it is shorter than what was read of it."""
    source = EventFileSource(path, catalog.reader.offsets().get((TOPIC, 0), 0), stop)
    IngestLoop(catalog, source, max_batch=max_batch, decode=_decode).run(stop)


def _decode(record: RawRecord) -> Event:
    return decode_line(record.value or b"", record.position, record.timestamp_us)
