"""The engine's process: `python -m neo_runtime.engine.child FD`, started by `EngineProcess`. Ends with its pipe."""

from __future__ import annotations

import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

from neo_runtime import heap
from neo_runtime.catalog.reader import Pinned
from neo_runtime.engine.api import EngineEvent
from neo_runtime.engine.load import loaded
from neo_runtime.engine.local import LocalEngine
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
from neo_runtime.errors import NeoError, SnapshotError, StartupError
from neo_runtime.model.about import ModelAbout
from neo_runtime.observability import metrics
from neo_runtime.observability.logging import configure_logging
from neo_runtime.snapshot.follow import open_source
from neo_runtime.snapshot.served import Source
from neo_runtime.types import ItemKey


class Catalogs:
    """What the front end serves, opened here too. Looks like a CatalogReader to the decoder."""

    def __init__(self, fingerprints: Mapping[str, str]) -> None:
        self._fingerprints, self._lock = fingerprints, threading.Lock()
        self._open: dict[int, Source] = {}
        self._serving = -1

    def open(self, message: OpenCatalog) -> None:
        source = open_source(message.folder, message.target, message.resource, self._fingerprints)
        self._open[message.number] = source

    def has(self, number: int) -> bool:
        return number in self._open

    def serve(self, number: int) -> None:
        self._serving = number

    def close(self, number: int) -> None:
        with self._lock:
            self._open.pop(number).reader.store.close()

    def pin(self, keys: Collection[ItemKey]) -> Pinned:
        """See CatalogReader."""
        with self._lock:
            source = self._open[self._serving]
            return replace(source.reader.pin(keys), snapshot=source.name)


class Told:
    """In the place of a metric: what is observed goes to the front end."""

    def __init__(self, metric: str, take: Callable[[Observation], None], labels: tuple[str, ...] = ()) -> None:
        self._metric, self._take, self._labels = metric, take, labels

    def labels(self, *labels: str) -> Told:
        return Told(self._metric, self._take, labels)

    def observe(self, amount: float) -> None:
        self._take(Observation(self._metric, self._labels, amount))

    def inc(self, amount: float = 1) -> None:
        self.observe(amount)


class Outgoing:
    """Messages to the front end. What a pass brought goes as one."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._events: list[tuple[int, EngineEvent | NeoError]] = []
        self._load = Load()
        self.observations: deque[Observation] = deque()
        for name in ("FILTER_SECONDS", "SLOW_READS"):  # all that an engine observes
            setattr(metrics, name, Told(name, self.observations.append))

    def put(self, number: int, event: EngineEvent | NeoError) -> None:
        self._events.append((number, event))

    def flush(self, engine: LocalEngine) -> None:
        events, self._events = self._events, []
        load = _load(engine)
        observations = tuple(self.observations.popleft() for _ in range(len(self.observations)))
        if events or observations or load != self._load:
            self._load = load
            self.send(Events(tuple(events), load, observations))

    def send(self, message: FromEngine) -> None:
        """A pipe that nobody reads any more is the recv loop's to notice."""
        with self._lock, suppress(OSError):
            self._connection.send_bytes(pickle.dumps(message))


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    begin: Begin = pickle.loads(connection.recv_bytes())  # noqa: S301 # of the process that started this one
    settings, outgoing = begin.settings, Outgoing(connection)
    configure_logging(settings.log_level)
    heap.keep()
    try:
        catalogs = Catalogs(ModelAbout.load(settings.model).fingerprints)
        for catalog in begin.catalogs:
            catalogs.open(catalog)
        catalogs.serve(begin.serving)
        decoder = loaded(settings, catalogs, is_again=begin.is_again)
    except StartupError as error:
        outgoing.send(Refused(error))
        return
    capacity = settings.max_running + settings.max_queued  # the front end refuses what is more
    engine = LocalEngine(decoder, max_queued=capacity, after_pass=lambda: outgoing.flush(engine), has_thread=False)
    engine.pace.learn(decoder.backbone, decoder.limits.max_context_tokens)
    heap.settle()
    outgoing.send(Ready(decoder.limits, engine.pace.pace))
    arguments = connection, engine, catalogs, outgoing
    threading.Thread(target=_serve, args=arguments, name="front-end", daemon=True).start()
    engine.run()  # on the thread that loaded the model; see LocalEngine


def _serve(connection: Connection, engine: LocalEngine, catalogs: Catalogs, outgoing: Outgoing) -> None:
    """Until the front end's end of the pipe is closed."""
    numbers: dict[int, int] = {}
    # Opening takes longer than a request should wait.
    with suppress(EOFError, OSError), ThreadPoolExecutor(1, "catalogs") as aside:
        while True:
            message: ToEngine = pickle.loads(connection.recv_bytes())  # noqa: S301
            match message:
                case Submit():
                    try:
                        numbers[message.number] = engine.submit(message.work, partial(outgoing.put, message.number))
                    except NeoError as error:
                        outgoing.send(Events(((message.number, error),), _load(engine)))
                case Cancel():
                    if message.number in numbers:
                        engine.cancel(numbers.pop(message.number))
                case Pause() if message.number in numbers:
                    (engine.pause if message.is_paused else engine.resume)(numbers[message.number])
                case OpenCatalog():
                    aside.submit(_open, message, catalogs, outgoing)
                case ServeCatalog():
                    if not catalogs.has(message.number):  # of an engine that has just begun: it may still be opening
                        aside.submit(bool).result()
                    catalogs.serve(message.number)
                case CloseCatalog():
                    aside.submit(catalogs.close, message.number)
    engine.stop()


def _load(engine: LocalEngine) -> Load:
    return Load(engine.running, engine.queued, engine.cached_bytes, engine.pace.pace)


def _open(message: OpenCatalog, catalogs: Catalogs, outgoing: Outgoing) -> None:
    try:
        catalogs.open(message)
    except Exception as error:  # the front end says so, and stays with what is served
        known = error if isinstance(error, NeoError) else SnapshotError(f"{message.folder} cannot be opened ({error})")
        outgoing.send(Opened(message.number, known))
    else:
        outgoing.send(Opened(message.number))


if __name__ == "__main__":
    main()
