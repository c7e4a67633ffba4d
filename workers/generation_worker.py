"""The serving process: a gRPC front over a catalog, live or as a snapshot; the engine has a process of its own."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Callable

import structlog
from prometheus_client import REGISTRY, start_http_server

from neo_runtime import heap
from neo_runtime.catalog.usage import Usage, UsageCollector
from neo_runtime.config import Settings
from neo_runtime.engine.process import EngineProcess, wait_for
from neo_runtime.engine.several import Engines
from neo_runtime.model.about import ModelAbout
from neo_runtime.serving.server import serve
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.trie.predicate_json import declared
from neo_runtime.trie.step import warm_up_changes

_log = structlog.get_logger(__name__)


def run(settings: Settings, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. StartupError where settings, model, catalog or port do not."""
    filters = declared(settings.filters)
    about = ModelAbout.load(settings.model)
    instance = settings.instance or uuid.uuid4().hex[:12]
    follower = AliasFollower(Snapshots.of(settings), settings.catalog, about.fingerprints, instance)
    served = follower.begin()
    engines = [EngineProcess(settings, served) for _ in range(settings.engines)]
    warm_up_changes()  # while they load
    wait_for(engines)
    engine = Engines(engines)
    if settings.metrics_port:
        REGISTRY.register(UsageCollector(lambda: _usage(served)))
        start_http_server(settings.metrics_port)

    def announce(address: str) -> None:
        view = served.pin(()).view
        items = {name: len(trie) for name, trie in view.types.items()}
        named = {"model": about.name, "note": about.note, "catalog": served.source.name}
        _log.info("serving", address=address, generation=view.generation, sids=items, **named)
        ready(address)

    follower.start()
    heap.settle()
    try:
        asyncio.run(
            serve(
                engine, about, served, follower, filters=filters, listen=settings.listen,
                max_seconds=settings.max_seconds, drain_seconds=settings.drain_seconds, stop=_stop_signal,
                ready=announce,
            )
        )  # fmt: skip
    finally:
        follower.stop()
        for each in engines:
            each.stop()
        served.close()


def _usage(served: ServedCatalog) -> Usage:
    with served.hold() as source:
        return source.reader.store.usage()


async def _stop_signal() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
