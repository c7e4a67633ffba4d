"""Follow the changelog: apply what an assigner has published, as it is. Quantizes nothing and publishes nothing.

Availability needs nobody's decision, so every catalog reads that topic by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass

import structlog

from neo_runtime.catalog import takeover
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Event, ItemRecord, RawRecord, Stored
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.event import decode_availability
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.source import KafkaSource, lag
from neo_runtime.ingest.topics import Topics
from neo_runtime.types import ItemKey

BATCH = 1_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replica:
    """A catalog and the changelog that it follows."""

    catalog: Catalog
    changelog: Changelog
    bootstrap: str
    topics: Topics
    max_batch: int = BATCH

    def follow(self, stop: threading.Event, watch: Callable[[KafkaSource], None] = lambda source: None) -> None:
        """Until `stop`, through outages. `watch` is called every turn, and may set it."""
        source = Outage(stop).retrying()(self._open)
        IngestLoop(
            self.catalog, source, decode=self._decode, max_batch=self.max_batch, watch=lambda: watch(source)
        ).run(stop)

    def catch_up(self, stop: threading.Event) -> None:
        """Up to what is the changelog's end as this begins, unless `stop` comes first."""
        done = threading.Event()

        def watch(source: KafkaSource) -> None:
            if stop.is_set() or lag(source) == 0:
                done.set()

        self.follow(done, watch)

    def retract(self) -> None:
        """Forget what this catalog had decided and not published: somebody else did or will decide on it."""
        with self.catalog.store.read() as txn:
            waiting = txn.entries("outbox")
        if waiting:
            items = takeover.unpublished(self.catalog)
            takeover.retract(self.catalog, self._published(items))
            _log.warning("retracted what was not published", items=len(items), records=waiting)

    def _published(self, keys: Collection[ItemKey]) -> dict[ItemKey, ItemRecord | None]:
        """What the changelog says of these items, found by reading all of it."""
        wanted = {str(key).encode(): key for key in keys}
        found: dict[ItemKey, ItemRecord | None] = dict.fromkeys(keys)
        with closing(KafkaSource(self.bootstrap, self.topics.assignments, {})) as source:
            while lag(source):
                for record in source.poll(BATCH, 1.0):
                    if record.key in wanted:
                        said = self.changelog.decode(record)
                        found[wanted[record.key]] = said.record if isinstance(said, Stored) else None
        return found

    def _open(self) -> KafkaSource:
        topics = (self.topics.assignments, self.topics.availability)
        return KafkaSource(self.bootstrap, topics, self.catalog.reader.offsets())

    def _decode(self, record: RawRecord) -> Event:
        if record.position.topic == self.topics.availability:
            return decode_availability(record)
        return self.changelog.decode(record)
