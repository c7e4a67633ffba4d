"""Keep a catalog up to date with a topic.

One thread does everything, so that one order holds; a crash between any two steps repeats work and loses nothing.
1. poll: what is there, at once, however little; nothing while the outbox is full
2. decode; what cannot be decoded goes on as a dead letter
3. one transaction of the catalog: items, SIDs, offsets, dead letters, outbox
4. publish the outbox, and acknowledge what has arrived
Step 4 also runs first, for what the last run left. Offsets live in the catalog alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial

import structlog
from tenacity import RetryError

from neo_runtime.catalog.batch import Applied
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Event, RawRecord
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.event import decode
from neo_runtime.ingest.publisher import Publisher
from neo_runtime.ingest.report import Report, report_batch
from neo_runtime.ingest.source import RecordSource, cut, lag
from neo_runtime.ingest.storage import StorageOutage

IDLE_POLL_S = 0.5  # also how late a stop is noticed
UNSETTLED_POLL_S = 0.02  # then it is quiet, and what was published can be acknowledged
FULL_WAIT_S = 0.1
SUMMARY_EVERY_S = 10.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class IngestStats:
    """What a loop has done since it was made. `delay_s` is the newest batch's oldest record, from its timestamp on."""

    batches: int = 0
    records: int = 0
    upserted: int = 0
    deleted: int = 0
    unchanged: int = 0
    stale: int = 0
    unknown_deletes: int = 0
    replayed: int = 0
    availability: int = 0
    retracted: int = 0
    forgotten: int = 0
    dead_letters: int = 0
    published: int = 0
    outages: int = 0
    generation: int = 0
    lag: int = 0
    delay_s: float = 0.0

    def add(self, applied: Applied) -> None:
        """Count one batch."""
        for field in fields(applied):
            if field.name != "generation":
                setattr(self, field.name, getattr(self, field.name) + getattr(applied, field.name))
        self.generation = applied.generation


class IngestLoop:
    """Owns source and publisher, and closes them; the catalog is the caller's. `publisher` None: nothing goes out."""

    def __init__(
        self, catalog: Catalog, source: RecordSource, publisher: Publisher | None = None, *,
        max_batch: int = 1_000, max_batch_bytes: int = 8 << 20, max_outbox: int = 10_000,
        decode: Callable[[RawRecord], Event] = decode, watch: Callable[[], None] = lambda: None,
        tend: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`watch` is called every turn, and what it raises ends the loop. `tend` is called when there is not much to
        read, and may write to the catalog.
        """
        self._catalog, self._source, self._publisher, self._decode = catalog, source, publisher, decode
        self._watch, self._tend, self._report = watch, tend, Report(catalog, source, publisher)
        self._max_batch, self._max_batch_bytes, self._max_outbox = max_batch, max_batch_bytes, max_outbox
        self._summary_at, self._summarized = time.monotonic() + SUMMARY_EVERY_S, 0
        self.stats = IngestStats()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then the batch in hand is finished and everything closed, broker or no broker.

        Outages and full disks are waited out. StartupError where only an operator can help.
        """
        outage, storage = Outage(stop), StorageOutage(stop)
        try:
            outage.retrying()(storage.waited_out, lambda: self._publish(quiet=True))
            while not stop.is_set():
                outage.retrying()(self._turn, storage)
                outage.over()
                self._summarize(outage)
        except RetryError:
            _log.warning("stopped while the broker is away or the disk full")
        finally:
            self._source.close()
            if self._publisher:
                self._publisher.close()
                self.stats.published = self._publisher.published

    def _turn(self, storage: StorageOutage) -> None:
        self._watch()
        waiting = self._publisher.waiting() if self._publisher else 0
        full = waiting >= self._max_outbox
        records = []
        if not full:
            records = self._source.poll(self._max_batch, UNSETTLED_POLL_S if waiting else IDLE_POLL_S)
        for batch in cut(records, self._max_batch_bytes):
            storage.waited_out(partial(self._apply, batch))
        if not full and len(records) < self._max_batch:
            storage.waited_out(self._tend)
        storage.waited_out(self._report.turn)
        storage.waited_out(lambda: self._publish(FULL_WAIT_S if full else 0.0, quiet=not records))

    def _apply(self, records: list[RawRecord]) -> None:
        self._watch()  # also while there is no room: somebody else may take over
        started = time.perf_counter()
        events = [self._decode(record) for record in records]
        positions = {record.position[:2]: record.position.offset + 1 for record in records}
        applied = self._catalog.apply(events, positions, publish=self._publisher is not None)
        if self._publisher:
            self._publisher.reached(positions)
        self.stats.add(applied)
        self.stats.batches += 1
        self.stats.records += len(records)
        oldest = min(record.timestamp_us for record in records)
        self.stats.delay_s = round(max(0.0, time.time() - oldest / 1e6), 4)
        report_batch(applied, len(records), self.stats.delay_s, time.perf_counter() - started)
        _log.debug(
            "batch applied", records=len(records), milliseconds=round((time.perf_counter() - started) * 1e3, 1),
            delay_s=self.stats.delay_s, **asdict(applied),
        )  # fmt: skip

    def _publish(self, wait_s: float = 0.0, *, quiet: bool) -> None:
        if self._publisher is not None:
            self._publisher.send()
            self._publisher.settle(wait_s, quiet=quiet)

    def _summarize(self, outage: Outage) -> None:
        if time.monotonic() < self._summary_at:
            return
        self._summary_at = time.monotonic() + SUMMARY_EVERY_S
        self._catalog.store.clear_stale_readers()
        self.stats.outages, self.stats.lag = outage.count, lag(self._source)
        self.stats.published = self._publisher.published if self._publisher else 0
        if self.stats.records > self._summarized or self.stats.lag:
            _log.info("following", **asdict(self.stats))
            self._summarized = self.stats.records
