"""The outbox of a catalog to Kafka: in order, at least once, acknowledged to the catalog when the broker has it.

Belongs to the thread that applies events. The order is the guarantee:
1. send the oldest records of the outbox that are not under way, as one transaction
2. wait for the broker, oldest first
3. acknowledge what it has, up to the first transaction that it refused; that one and all after it are sent again

Sending anything before an older record that failed would leave the older state of an item as the topic's last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple, Protocol

import structlog

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.records import as_dead_letter
from neo_runtime.errors import StorageError
from neo_runtime.ingest.broker import CLOSE_TIMEOUT_S, BrokerUnavailableError
from neo_runtime.ingest.outgoing import Parcel
from neo_runtime.ingest.source import Offsets

MOST_CUT = 2
WINDOW = 2_000  # records under way at most
WINDOW_BYTES = 8 << 20  # of one transaction; a larger record goes alone
UNACKNOWLEDGED = 500  # a commit for every record would cost more than sending some again after a crash
UNACKNOWLEDGED_S = 1.0
DOUBT_S = 1.0  # after a refusal, how long an answer is waited for before calling it an outage still

_log = structlog.get_logger(__name__)


class Refusal(NamedTuple):
    """Why nothing of a transaction arrived. `too_large`: number of the record that the broker does not take so."""

    message: str
    too_large: int | None = None


class Delivery(Protocol):
    """A transaction on its way: it arrives whole or not at all."""

    def wait(self, timeout_s: float) -> bool:
        """Whether the broker has answered, yes or no, after `timeout_s` at most."""

    def refusal(self) -> Refusal | None:
        """Why an answered one was refused; None where it arrived."""

    def ends(self) -> Offsets:
        """Where in the changelog the next records go, of the partitions that an arrived one wrote to."""


class RecordSink(Protocol):
    """Where records go."""

    def send(self, parcels: list[Parcel]) -> Delivery:
        """As one transaction, without waiting for it. BrokerUnavailableError where it cannot even be taken."""

    def is_busy(self) -> bool:
        """Whether nothing more can be sent before what was sent is answered."""

    def give_up(self) -> None:
        """Whatever is under way is answered, with a refusal where it had no answer yet, and never arrives later than
        what is sent from here on."""

    def close(self) -> None:
        """Within seconds, whatever is still under way."""


@dataclass(slots=True)
class UnderWay:
    """Records of the outbox that were sent and not yet acknowledged to the catalog."""

    numbers: list[int]
    delivery: Delivery

    def refusal(self) -> Refusal | None:
        """None also where there is no answer yet."""
        return self.delivery.refusal() if self.delivery.wait(0) else None

    def arrived(self) -> bool:
        return self.delivery.wait(0) and self.delivery.refusal() is None


class Publisher:
    """One per catalog. See the module for what it guarantees.

    `tell` hears how far the logs were read that everything published so far came from.
    """

    def __init__(
        self, catalog: Catalog, sink: RecordSink, tell: Callable[[Offsets], None] = lambda positions: None
    ) -> None:  # fmt: skip
        self._catalog, self._sink, self._tell = catalog, sink, tell
        self._under_way: deque[UnderWay] = deque()
        self._reached: deque[tuple[int, Offsets]] = deque()
        self._cuts: dict[int, int] = {}
        self._acknowledged_at = time.monotonic()
        self._newest_logged = -1
        self._in_doubt = False
        self.published = 0

    def waiting(self) -> int:
        """Records that the catalog keeps for Kafka, under way or not."""
        with self._catalog.store.read() as txn:
            return txn.entries("outbox")

    def reached(self, positions: Offsets) -> None:
        """All that came of the records before `positions` is in the outbox now, or published."""
        self._reached.append((self._catalog.reader.state().outgoing, positions))

    def send(self) -> None:
        """Send what waits. BrokerUnavailableError where that is not possible now."""
        room = WINDOW - sum(len(entry.numbers) for entry in self._under_way)
        if room <= 0 or self._sink.is_busy() or self._refused():
            return  # settle has to acknowledge or to start over first, or the order is lost
        start = self._under_way[-1].numbers[-1] + 1 if self._under_way else 0
        with self._catalog.store.read() as txn:
            rows = txn.outbox_bytes(room, start, WINDOW_BYTES)
        if rows:
            parcels = [Parcel(number, content, self._cuts.get(number, 0)) for number, content in rows]
            self._log(parcels)
            self._under_way.append(UnderWay([parcel.number for parcel in parcels], self._sink.send(parcels)))

    def settle(self, wait_s: float = 0.0, *, quiet: bool = True) -> None:
        """Acknowledge what has arrived; where not `quiet`, only what is worth a commit.

        BrokerUnavailableError where the broker refused something: it is sent again.
        """
        if self._under_way:
            self._under_way[-1].delivery.wait(max(wait_s, DOUBT_S) if self._in_doubt else wait_s)
        arrived = list(takewhile(UnderWay.arrived, self._under_way))
        refused = self._refused()
        if arrived:
            self._in_doubt = False
            late = time.monotonic() - self._acknowledged_at > UNACKNOWLEDGED_S
            if quiet or refused or late or sum(len(entry.numbers) for entry in arrived) >= UNACKNOWLEDGED:
                self._acknowledge(arrived)
        self._tell_reached()
        if refused:
            self._start_over(refused)
        elif self._in_doubt and self._under_way:
            raise BrokerUnavailableError("publishing: not answered yet")

    def close(self) -> None:
        """Give what is under way a moment, then let go: the next start sends what was not acknowledged."""
        with suppress(BrokerUnavailableError, StorageError):
            self.send()
            self.settle(CLOSE_TIMEOUT_S)
        self._sink.close()

    def _acknowledge(self, arrived: list[UnderWay]) -> None:
        numbers = [number for entry in arrived for number in entry.numbers]
        ends: Offsets = {}
        for entry in arrived:
            ends |= entry.delivery.ends()
        self._catalog.acknowledge(numbers, ends)
        for _ in arrived:  # not before: a full disk leaves the outbox as it was, and this has to stay its match
            self._under_way.popleft()
        self._acknowledged_at = time.monotonic()
        self.published += len(numbers)
        for number in self._cuts.keys() & set(numbers):
            del self._cuts[number]

    def _tell_reached(self) -> None:
        """Up to the batch whose last record is published."""
        if not self._reached:
            return
        with self._catalog.store.read() as txn:
            waiting = txn.outbox_bytes(1)
        told: Offsets = {}
        while self._reached and (not waiting or self._reached[0][0] <= waiting[0][0]):
            told |= self._reached.popleft()[1]
        if told:
            self._tell(told)

    def _refused(self) -> Refusal | None:
        """The oldest refusal of what is under way, as far as is known."""
        return next((refusal for entry in self._under_way if (refusal := entry.refusal())), None)

    def _start_over(self, refusal: Refusal) -> None:
        """Forget what is under way, once nothing of it may arrive after what is sent again."""
        self._sink.give_up()
        self._under_way.clear()
        number = refusal.too_large
        if number is not None and self._cuts.get(number, 0) < MOST_CUT:
            self._cuts[number] = self._cuts.get(number, 0) + 1
            return
        self._in_doubt = True
        raise BrokerUnavailableError(refusal.message)

    def _log(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            if parcel.number > self._newest_logged and (letter := as_dead_letter(parcel.content)):
                origin = f"{letter.topic}[{letter.partition}]@{letter.offset}"
                _log.warning("dead letter", origin=origin, reason=letter.reason, message=letter.message)
        self._newest_logged = max(self._newest_logged, parcels[-1].number)
