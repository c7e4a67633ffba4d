"""Keep a catalog up to date until told to stop: everything that a catalog worker does, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tenacity import RetryError

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.forgetting import KEEP_S, Forgetting
from neo_runtime.catalog.item import Event, RawRecord
from neo_runtime.config import Settings
from neo_runtime.ingest.assigner import Assigner
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.eventfile import TOPIC, EventFileSource
from neo_runtime.ingest.line import decode_line
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.replica import Replica
from neo_runtime.ingest.topics import Topics, ensure_topics
from neo_runtime.observability import metrics


def follow_kafka(
    catalog: Catalog, stop: threading.Event, settings: Settings, ready: Callable[[], None] = lambda: None
) -> None:
    """From Kafka, and as an assigner back to it. Waits for a broker that is not there yet; `ready`: from now on.

    StartupError where a topic is missing and cannot be made, or does not fit the catalog's offsets; SupersededError
    where another assigner has taken over.
    """
    bootstrap = settings.kafka_bootstrap
    topics = Topics(settings.items_topic, settings.availability_topic, settings.assignments_topic)
    changelog = Changelog(catalog.codebooks, catalog.reader.description.catalog_id)
    replica = Replica(catalog, changelog, bootstrap, topics, settings.max_batch)
    outage = Outage(stop)
    with suppress(RetryError):  # stopped while the broker was away
        outage.retrying()(ensure_topics, bootstrap, topics, partitions=settings.partitions)
        outage.over()
        if settings.role == "replica":
            metrics.CATALOG_ROLE.state("replica")
            outage.retrying()(replica.retract)
            ready()
            replica.follow(stop)
        else:
            Assigner(
                replica, session_timeout_s=settings.session_seconds, keep_deleted_s=settings.keep_deleted_seconds,
                ready=ready,
            ).run(stop)  # fmt: skip


def follow_file(
    catalog: Catalog, stop: threading.Event, path: Path, *, max_batch: int = 1_000, keep_deleted_s: float = KEEP_S
) -> None:
    """From an event file that publishers append to. StartupError where it is shorter than what was read of it."""
    source = EventFileSource(path, catalog.reader.offsets().get((TOPIC, 0), 0), stop)
    tend = Forgetting(catalog, keep_deleted_s).turn
    IngestLoop(catalog, source, max_batch=max_batch, decode=_decode, tend=tend).run(stop)


def _decode(record: RawRecord) -> Event:
    return decode_line(record.value or b"", record.position, record.timestamp_us)
