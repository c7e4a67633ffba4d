"""The sender as its worker sees it: where the publisher's records go. Nothing here waits for it unless asked to.

The fence is renewed in steps, since each may find that somebody else has taken over: the worker asks whether it may
(`before`), the sender becomes the one producer, the worker agrees with what stands in the changelog (`after`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerError
from contextlib import suppress
from multiprocessing import Pipe

import msgspec

from neo_runtime.ingest.broker import CLOSE_TIMEOUT_S, BrokerUnavailableError, dial
from neo_runtime.ingest.outgoing import Parcel
from neo_runtime.ingest.publisher import Refusal
from neo_runtime.ingest.sender import Answer, Connect, Publish, Request, Setup
from neo_runtime.ingest.source import Offsets

# From one transaction to the next: each costs some ten milliseconds of Python in the sender, however small.
PAUSE_S = 0.05
GIVEN_UP_S = 60.0  # longer than the sender ever waits for a broker: it hangs


class SenderProcess:
    """One life of it. A thread writes a request and reads its answer, then the next: a full pipe keeps nobody else."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "neo_runtime.ingest.sender", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, process_group=0,  # what a terminal tells its group, the worker is to hear
            )  # fmt: skip
        self._thread = ThreadPoolExecutor(1, "sender")
        self.is_lost = False
        """It has ended, or does not answer: another one is needed."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Request) -> Asked:
        return Asked(self, self._thread.submit(self._exchange, msgspec.msgpack.encode(request)))

    def kill(self) -> None:
        """Whatever is asked is answered at once; nothing of it arrives after the next producer is there."""
        self.is_lost = True
        self._process.kill()

    def close(self) -> None:
        """The same, and waits for it."""
        self.kill()
        self._process.wait()
        self._thread.shutdown()
        self._connection.close()

    def _exchange(self, request: bytes) -> Answer:
        try:
            self._connection.send_bytes(request)
            return msgspec.msgpack.decode(self._connection.recv_bytes(), type=Answer)
        except (EOFError, OSError):
            self.kill()
            return Answer([], BrokerUnavailableError.__name__, "publishing: the sender has ended")


class Asked:
    """A request and what comes of it; see publisher.Delivery."""

    def __init__(self, sender: SenderProcess, answer: Future[Answer]) -> None:
        self._sender, self._answer, self._given_up_at = sender, answer, time.monotonic() + GIVEN_UP_S

    def wait(self, timeout_s: float) -> bool:
        """See Delivery."""
        if timeout_s > 0:
            with suppress(NoAnswerError):
                self._answer.result(timeout_s)
        if not self._answer.done() and time.monotonic() > self._given_up_at:
            self._sender.kill()
        return self._answer.done()

    def refusal(self) -> Refusal | None:
        """See Delivery. Raises what only an operator can help with: SupersededError, StartupError."""
        try:
            self._answer.result().raise_failure()
        except BrokerUnavailableError as error:
            return Refusal(str(error), self._answer.result().too_large)
        return None

    def ends(self) -> Offsets:
        """See Delivery."""
        return {place[:2]: place.offset for place in self._answer.result().ends}

    def confirm(self) -> None:
        """Wait for it; raises what it raised."""
        while not self.wait(GIVEN_UP_S):
            pass
        self._answer.result().raise_failure()


class SenderSink:
    """See RecordSink. The next transaction waits for the last one's answer.

    `before` is asked whether we may push out another producer of the same id, each time before that is done; `after`
    is called when it is, and before anything is sent: what the other one has written stands then.
    """

    def __init__(self, setup: Setup, *, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._setup, self._before, self._after = setup, before, after
        self._sender: SenderProcess | None = None
        self._is_connected = False
        self._last: Asked | None = None
        self._sent_at = 0.0

    def connect(self) -> SenderProcess:
        """From here on no other producer of this id gets anything through. BrokerUnavailableError: try again."""
        if self._sender is not None and self._sender.is_lost:
            self._end()
        if self._sender is not None and self._is_connected:
            return self._sender
        dial(self._setup.bootstrap)
        if self._sender is None:
            self._sender = SenderProcess()
            self._sender.ask(self._setup).confirm()  # not later: what is asked before the fence has to be fresh
        self._before()
        self._sender.ask(Connect()).confirm()
        self._after()
        self._is_connected = True
        return self._sender

    def send(self, parcels: list[Parcel]) -> Asked:
        """See RecordSink."""
        sender = self.connect()
        self._last, self._sent_at = sender.ask(Publish(parcels)), time.monotonic()
        return self._last

    def is_busy(self) -> bool:
        """See RecordSink."""
        return self._last is not None and not (self._last.wait(0) and time.monotonic() > self._sent_at + PAUSE_S)

    def give_up(self) -> None:
        """See RecordSink. A sender that has answered has already let go of its producer."""
        if self._last is not None and not self._last.wait(0):
            self._end()
        self._is_connected, self._last = False, None

    def close(self) -> None:
        """See RecordSink. A transaction that was not committed leaves nothing."""
        if self._last is not None:
            self._last.wait(CLOSE_TIMEOUT_S)
        self._end()

    def _end(self) -> None:
        sender, self._sender, self._is_connected = self._sender, None, False
        if sender is not None:
            sender.close()
