"""What an operator sees of a loop: metrics, and the lag, which the catalog keeps for those who do not talk to Kafka."""

from __future__ import annotations

import time
from dataclasses import asdict

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.records import PartitionLag
from neo_runtime.catalog.tables import Transaction
from neo_runtime.ingest.publisher import Publisher
from neo_runtime.ingest.source import RecordSource
from neo_runtime.observability import metrics

EVERY_S = 1.0
DEAD_LETTERS = "dead_letters."


def report_batch(applied: Applied, records: int, delay_s: float, seconds: float) -> None:
    """Of every batch."""
    for outcome, count in asdict(applied).items():
        if outcome != "generation" and count:
            metrics.EVENTS_APPLIED.labels(outcome).inc(count)
    metrics.CATALOG_GENERATION.set(applied.generation)
    metrics.BATCH_RECORDS.observe(records)
    metrics.BATCH_SECONDS.observe(seconds)
    metrics.INGEST_DELAY_SECONDS.set(delay_s)


class Report:
    """Of one loop: what is worth a look once a second."""

    def __init__(self, catalog: Catalog, source: RecordSource, publisher: Publisher | None) -> None:
        self._catalog, self._source, self._publisher = catalog, source, publisher
        self._next_at = time.monotonic() + EVERY_S
        with catalog.store.read() as txn:
            self._stored = txn.lag()

    def turn(self) -> None:
        """Where it is time for it."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        lag = self._lag()
        for part in lag:
            behind = max(0, part.end_offset - part.next_offset)
            metrics.INGEST_LAG.labels(part.topic, part.partition).set(behind)
        if all(part.end_offset <= part.next_offset for part in lag):
            metrics.INGEST_DELAY_SECONDS.set(0)
        for name, count in self._catalog.reader.state().counters.items():
            if name.startswith(DEAD_LETTERS):
                metrics.DEAD_LETTERS.labels(name.removeprefix(DEAD_LETTERS)).set(count)
        if self._publisher:
            metrics.OUTBOX_RECORDS.set(self._publisher.waiting())
            metrics.RECORDS_PUBLISHED.set(self._publisher.published)
        self._keep(lag)

    def _lag(self) -> list[PartitionLag]:
        ends = self._source.end_offsets()
        places = sorted(self._source.positions().items())
        return [PartitionLag(*place, offset, max(offset, ends.get(place, 0))) for place, offset in places]

    def _keep(self, lag: list[PartitionLag]) -> None:
        """Written only where it changed: an idle catalog does not grow."""
        if lag == self._stored:
            return

        def body(txn: Transaction) -> None:
            txn.put_lag(lag)

        self._catalog.store.transact(body)
        self._stored = lag
