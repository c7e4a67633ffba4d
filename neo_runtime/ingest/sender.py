"""The process that publishes for a catalog worker: from what lay in the outbox to a Kafka transaction.

Of its own, since all of that is Python, and would take turns with the applying of events. It decides nothing: asked one
thing at a time, it answers what came of it. It ends at once with its worker, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import msgspec

from neo_runtime.errors import NeoError, StartupError, SupersededError
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.outgoing import OutgoingEncoder, Parcel
from neo_runtime.ingest.transactions import TooLargeError, TransactionalProducer
from neo_runtime.observability.logging import configure_logging
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.types import Position

FAILURES: dict[str, type[NeoError]] = {
    kind.__name__: kind for kind in (BrokerUnavailableError, SupersededError, StartupError)
}


class Setup(msgspec.Struct, tag=True, frozen=True):
    """The first request: for whom it publishes, and where."""

    bootstrap: str
    transactional_id: str
    assignments_topic: str
    catalog_id: str
    codebooks: str


class Connect(msgspec.Struct, tag=True, frozen=True):
    """Become the one producer."""


class Publish(msgspec.Struct, tag=True, frozen=True):
    """As one transaction."""

    parcels: list[Parcel]


Request = Setup | Connect | Publish


class Answer(msgspec.Struct, frozen=True):
    """To every request one. `failure`: the name of an error, with `reason` and message."""

    ends: list[Position] = []
    """Where in the assignments topic the next records go, of the partitions that got some."""
    failure: str = ""
    message: str = ""
    reason: str = ""
    too_large: int | None = None
    """Number of the parcel that was."""

    def raise_failure(self) -> None:
        """As what it was in the sender; what nobody there expected is a RuntimeError."""
        if kind := FAILURES.get(self.failure):
            raise kind(self.message, reason=self.reason)
        if self.failure:
            raise RuntimeError(f"{self.failure}: {self.message}")


class Sender:
    """What the requests are about."""

    def __init__(self, setup: Setup) -> None:
        changelog = Changelog(load_codebooks(Path(setup.codebooks)), setup.catalog_id)
        self._encoder = OutgoingEncoder(setup.assignments_topic, changelog)
        self._producer = TransactionalProducer(setup.bootstrap, setup.transactional_id)

    def answer(self, request: Connect | Publish) -> Answer:
        """What came of it."""
        if isinstance(request, Connect):
            self._producer.connect()
            return Answer()
        try:
            positions = self._producer.publish(self._encoder.unpack(parcel) for parcel in request.parcels)
        except TooLargeError as error:
            number = request.parcels[error.index].number
            return Answer([], BrokerUnavailableError.__name__, str(error), error.reason, number)
        ends = {place[:2]: place.offset + 1 for place in positions if place.topic == self._encoder.assignments_topic}
        return Answer([Position(*partition, end) for partition, end in ends.items()])


def _listen(worker: Connection, requests: SimpleQueue[bytes]) -> None:
    """In a thread of its own, so that the worker's end is heard while something is under way."""
    try:
        while True:
            requests.put(worker.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they may go to everything at once: the worker decides, and then ends us
    configure_logging("warning")
    worker = Connection(int(sys.argv[1]))
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(worker, requests), daemon=True).start()
    decode = msgspec.msgpack.Decoder(Request).decode
    sender: Sender | None = None
    while True:
        request = decode(requests.get())
        try:
            if isinstance(request, Setup):
                sender, answer = Sender(request), Answer()
            else:
                assert sender is not None
                answer = sender.answer(request)
        except tuple(FAILURES.values()) as error:
            name = next(name for name, kind in FAILURES.items() if isinstance(error, kind))
            answer = Answer([], name, str(error), error.reason)
        except Exception as error:  # a mistake of ours: the worker ends with it, as with its own
            answer = Answer([], repr(error), traceback.format_exc())
        with suppress(OSError):  # the worker has ended, and so do we
            worker.send_bytes(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
