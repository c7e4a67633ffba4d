"""An engine in a process of its own, as the front end sees it. An engine that ends fails what it was at, and another
one is started; meanwhile requests are refused. The front end neither loads a model nor waits for one.
"""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import structlog
from prometheus_client import Histogram

from neo_runtime.config import Settings
from neo_runtime.engine.admission import Admission
from neo_runtime.engine.api import EngineLimits, Finished, RankedList, Sink, Warmed, Work
from neo_runtime.engine.messages import (
    Begin,
    Cancel,
    CloseCatalog,
    Events,
    FromEngine,
    Load,
    Observation,
    OpenCatalog,
    Opened,
    Pause,
    Ready,
    Refused,
    ServeCatalog,
    Submit,
    ToEngine,
)
from neo_runtime.errors import NeoError, StartupError, UnavailableError
from neo_runtime.observability import metrics
from neo_runtime.snapshot.served import ServedCatalog, Source

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0  # before another engine is started after one that did not live long
_LONG_LIFE_S = 60.0
_OPEN_TIMEOUT_S = 120.0
_LONGEST_SILENCE_S = 60.0  # of an engine that has something to do
LOST = "the engine ended while it was at this request; another one is being started"


def wait_for(engines: Sequence[EngineProcess]) -> None:
    """Until all are ready. StartupError where one cannot start; then none is left running."""
    try:
        for engine in engines:
            engine.wait()
    except BaseException:
        for engine in engines:
            engine.stop()
        raise


def _observe(observation: Observation) -> None:
    metric = getattr(metrics, observation.metric)
    metric = metric.labels(*observation.labels) if observation.labels else metric
    (metric.observe if isinstance(metric, Histogram) else metric.inc)(observation.amount)


class EngineProcess:
    """Follows what `served` serves. Thread-safe."""

    def __init__(self, settings: Settings, served: ServedCatalog) -> None:
        self._settings = settings
        self._admission = Admission(
            max_requests=settings.max_running + settings.max_queued, max_running=settings.max_running,
            max_backlog_s=settings.max_backlog_seconds,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._sinks: dict[int, Sink] = {}
        self._paused: set[int] = set()
        self._watchers: list[Callable[[bool], None]] = []
        self._opening: dict[int, Future[None]] = {}
        self._catalogs = {served.source: next(self._numbers)}
        self._serving = served.source
        self._connection: Connection | None = None  # of an engine that is ready
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._first: Future[EngineLimits] = Future()
        self._load = Load()
        self._thread = threading.Thread(target=self._keep, name="neo-engine-process", daemon=True)
        self._thread.start()
        served.mirrors.append(self)

    def wait(self) -> None:
        """Until the engine is ready for the first time. StartupError where it cannot be."""
        self._first.result()

    @property
    def limits(self) -> EngineLimits:
        return self._first.result()

    @property
    def pid(self) -> int:
        """Of the engine that runs now."""
        assert self._process
        return self._process.pid

    @property
    def running(self) -> int:
        return self._load.running

    @property
    def queued(self) -> int:
        return max(len(self._sinks) - self._load.running, 0)

    @property
    def cached_bytes(self) -> int:
        return self._load.cached_bytes

    def watch(self, told: Callable[[bool], None]) -> None:
        with self._lock:
            self._watchers.append(told)
            told(self._connection is not None)

    def submit(self, work: Work, sink: Sink) -> int:
        with self._lock:
            if self._connection is None:
                raise UnavailableError("the engine is being started", reason="ENGINE_STARTING")
            number = next(self._numbers)
            self._admission.admit(number, work)
            self._sinks[number] = sink
            self._send(Submit(number, work))
            return number

    def pause(self, request: int) -> None:
        with self._lock:
            if request in self._sinks:
                self._paused.add(request)
            self._send(Pause(request, is_paused=True))

    def resume(self, request: int) -> None:
        with self._lock:
            self._paused.discard(request)
            self._send(Pause(request, is_paused=False))

    def cancel(self, request: int) -> None:
        with self._lock:
            self._drop(request)
            self._send(Cancel(request))

    def stop(self) -> None:
        """What still runs gets UnavailableError."""
        self._stopping.set()
        with self._lock:
            if self._process:
                self._process.kill()
        self._thread.join()
        if self._process:
            self._process.wait()

    def open(self, source: Source) -> None:
        """See Mirror."""
        with self._lock:
            number = self._catalogs[source] = next(self._numbers)
            if self._connection is None:
                return  # the next engine begins with it
            opened = self._opening[number] = Future()
            self._send(self._told(source))
        try:
            opened.result(_OPEN_TIMEOUT_S)
        except BaseException:
            self.close(source)
            raise

    def serve(self, source: Source) -> None:
        with self._lock:
            self._serving = source
            self._send(ServeCatalog(self._catalogs[source]))

    def close(self, source: Source) -> None:
        with self._lock:
            self._send(CloseCatalog(self._catalogs.pop(source)))

    def _told(self, source: Source) -> OpenCatalog:
        return OpenCatalog(self._catalogs[source], source.reader.store.path, source.target, source.name)

    def _send(self, message: ToEngine) -> None:
        """Under the lock. An engine that has just ended is noticed where its messages are read."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.send_bytes(pickle.dumps(message))

    def _keep(self) -> None:
        """One life of the engine after the other."""
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            self._live()
            if self._stopping.is_set() or not self._first.done() or self._first.exception():
                break
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _LONG_LIFE_S else min(2 * pause, _LONGEST_PAUSE_S)
            _log.error("the engine ended; starting another one", code=self._ended(), pause_s=pause)
            self._stopping.wait(pause)
        if not self._first.done():
            self._first.set_exception(StartupError(f"the engine ended while it started (code {self._ended()})"))

    def _live(self) -> None:
        connection, theirs = Pipe()
        with self._lock, theirs:
            if self._stopping.is_set():
                return
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "neo_runtime.engine.child", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, process_group=0,  # what a terminal tells its group, the front end is to hear
            )  # fmt: skip
        with connection:
            with suppress(EOFError, OSError):
                self._hand_over(connection)
                while self._hears(connection):
                    self._take(pickle.loads(connection.recv_bytes()))  # noqa: S301 # of our own child
            self._lose()

    def _hears(self, connection: Connection) -> bool:
        """Wait for a message. One that says nothing for so long though there is work for it hangs: it is killed."""
        silent = 0
        while not connection.poll(_LONGEST_SILENCE_S / 2):
            with self._lock:
                silent = silent + 1 if self._sinks.keys() - self._paused else 0
                if silent == 2:
                    _log.error("the engine hangs; it is killed", silent_s=_LONGEST_SILENCE_S)
                    assert self._process
                    self._process.kill()
                    return False
        return True

    def _hand_over(self, connection: Connection) -> None:
        """Everything that it begins with; from then on it is told of every change."""
        with self._lock:
            catalogs = tuple(self._told(source) for source in self._catalogs)
            begin = Begin(self._settings, catalogs, self._catalogs[self._serving], self._first.done())
            connection.send_bytes(pickle.dumps(begin))
        first: FromEngine = pickle.loads(connection.recv_bytes())  # noqa: S301
        if isinstance(first, Refused):
            _log.error("the engine cannot start", why=str(first.error))
            if not self._first.done():
                self._first.set_exception(first.error)
            return
        assert isinstance(first, Ready)
        with self._lock:
            missed = [source for source in self._catalogs if self._told(source) not in catalogs]
            self._connection = connection
            self._admission.pace = first.pace
            for source in missed:
                self._send(self._told(source))
            self._send(ServeCatalog(self._catalogs[self._serving]))
        self._tell(True)
        if not self._first.done():
            self._first.set_result(first.limits)

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, Events):
            with self._lock:
                self._load = message.load
                self._admission.pace = message.load.pace
            for observation in message.observations:
                _observe(observation)
            for number, event in message.events:
                is_last = isinstance(event, Finished | RankedList | Warmed | NeoError)
                sink = self._forget(number) if is_last else self._sinks.get(number)
                if sink is not None:
                    sink(event)
        elif isinstance(message, Opened):
            opened = self._opening.pop(message.number, None)
            if opened is not None and message.error:
                opened.set_exception(message.error)
            elif opened is not None:
                opened.set_result(None)

    def _forget(self, number: int) -> Sink | None:
        """The request is over; whom to tell."""
        with self._lock:
            return self._drop(number)

    def _drop(self, number: int) -> Sink | None:
        """Under the lock."""
        self._paused.discard(number)
        self._admission.release(number)
        return self._sinks.pop(number, None)

    def _lose(self) -> None:
        """Nothing of this life is answered any more."""
        with self._lock:
            lost, self._sinks, self._load = list(self._sinks.values()), {}, Load()
            self._paused.clear()
            self._admission.clear()
            was_ready, self._connection = self._connection is not None, None
            waiting, self._opening = list(self._opening.values()), {}
        if was_ready:
            self._tell(False)
        for opened in waiting:
            opened.set_result(None)  # the next engine begins with it
        for sink in lost:
            sink(UnavailableError(LOST, reason="ENGINE_LOST"))

    def _tell(self, is_ready: bool) -> None:
        for told in list(self._watchers):
            told(is_ready)

    def _ended(self) -> int | None:
        assert self._process
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
