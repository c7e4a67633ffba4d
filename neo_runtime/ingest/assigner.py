"""The assigner's life: stand by, take over, assign.

1. join the group of assigners; while another one has the seat, follow its changelog as a replica does
2. with the seat: become the producer that only one can be, which fences the one before
3. read the changelog to its end: what stands there counts, whoever wrote it
4. where another one has assigned since, retract what we had not published, and go on in the events where it got to
5. assign, and publish in transactions, until somebody else takes over
Whenever the producer has to be made anew, 2 and 3 come first again. So no order of pauses, deaths and takeovers lets
two assigners build on different states: the seat only says who tries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress

import structlog
from tenacity import RetryError

from neo_runtime.catalog import takeover
from neo_runtime.catalog.forgetting import Forgetting
from neo_runtime.errors import SupersededError
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.election import Seat
from neo_runtime.ingest.event import decoder
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.publisher import Publisher
from neo_runtime.ingest.replica import Replica
from neo_runtime.ingest.sender import Setup
from neo_runtime.ingest.sender_process import SenderSink
from neo_runtime.ingest.source import KafkaSource
from neo_runtime.observability import metrics

GROUP_PREFIX = "neo-assigner."

_log = structlog.get_logger(__name__)


class Assigner:
    """Of one catalog; the topics have to be there. `ready` is called when it begins to assign."""

    def __init__(
        self, replica: Replica, *, session_timeout_s: float, keep_deleted_s: float, ready: Callable[[], None]
    ) -> None:  # fmt: skip
        """`replica`: the same catalog, as it follows another assigner."""
        self._replica, self._catalog, self._topics, self._bootstrap = (
            replica, replica.catalog, replica.topics, replica.bootstrap
        )  # fmt: skip
        self._session_timeout_s, self._ready = session_timeout_s, ready
        self._forgetting = Forgetting(replica.catalog, keep_deleted_s, publish=True)
        self._name = GROUP_PREFIX + self._topics.assignments
        self._leads = False

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. SupersededError where another assigner has taken over."""
        seat = Seat(
            self._bootstrap, self._topics.seat, self._name, self._catalog.reader.description.catalog_id,
            session_timeout_s=self._session_timeout_s,
        )  # fmt: skip
        with closing(seat), suppress(RetryError):  # stopped while the broker was away
            while not (seat.decided.wait(0.1) or stop.is_set()):
                seat.check()
            if not seat.held and not stop.is_set():
                self._stand_by(seat, stop)
            if not stop.is_set():
                self._assign(seat, stop)

    def _stand_by(self, seat: Seat, stop: threading.Event) -> None:
        metrics.CATALOG_ROLE.state("standby")
        _log.info("standing by", seat=self._topics.seat)
        Outage(stop).retrying()(self._replica.retract)
        over = threading.Event()

        def watch(source: KafkaSource) -> None:
            seat.check()
            if seat.held or stop.is_set():
                over.set()

        self._replica.follow(over, watch)

    def _assign(self, seat: Seat, stop: threading.Event) -> None:
        setup = Setup(
            self._bootstrap, self._name, self._topics.assignments, self._catalog.reader.description.catalog_id,
            str(self._catalog.store.path / "codebooks"),
        )  # fmt: skip
        sink = SenderSink(setup, before=seat.confirm, after=lambda: self._settle(seat, stop))
        with closing(sink):
            Outage(stop).retrying()(sink.connect)
            publisher = Publisher(self._catalog, sink, tell=seat.tell)
            source = Outage(stop).retrying()(
                KafkaSource, self._bootstrap, (self._topics.items, self._topics.availability),
                self._catalog.reader.offsets(),
            )  # fmt: skip
            metrics.CATALOG_ROLE.state("assigner")
            self._ready()
            IngestLoop(
                self._catalog, source, publisher, max_batch=self._replica.max_batch, watch=seat.check,
                decode=decoder(self._topics.availability), tend=self._tend,
            ).run(stop)  # fmt: skip

    def _tend(self) -> None:
        self._forgetting.turn()
        takeover.announce(self._catalog)

    def _settle(self, seat: Seat, stop: threading.Event) -> None:
        """Nobody else can write from here on: agree with what stands in the changelog."""
        self._replica.catch_up(stop)
        if not takeover.assigns(self._catalog):
            if self._leads:
                raise SupersededError("another assigner has assigned meanwhile; start this one again")
            self._replica.retract()
            items = self._topics.items
            takeover.start_assigning(self._catalog, items, seat.committed(items))
            _log.info("taking over", positions=len(self._catalog.reader.offsets()))
        self._leads = True
