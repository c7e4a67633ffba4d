"""The serving process: engine thread and gRPC front over one model and a catalog, live or as a snapshot."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Callable

import structlog
import torch
from prometheus_client import REGISTRY, start_http_server

from neo_runtime.catalog.usage import Usage, UsageCollector
from neo_runtime.config import Settings
from neo_runtime.engine.api import EngineLimits
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.serving.server import serve
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.trie.predicate_json import declared
from workers import heap

_log = structlog.get_logger(__name__)


def run(settings: Settings, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. StartupError where settings, model, catalog or port do not."""
    filters = declared(settings.filters)
    torch.set_num_threads(settings.torch_threads or max(1, (os.cpu_count() or 2) - 1))
    model = NeoModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
    instance = settings.instance or uuid.uuid4().hex[:12]
    follower = AliasFollower(Snapshots.of(settings), settings.catalog, model.fingerprints, instance)
    served = follower.begin()
    limits = EngineLimits(
        max_context_tokens=model.context_tokens,
        max_beam_width=settings.max_beam_width,
        max_output_tokens=min(settings.max_output_tokens, model.context_tokens),
        max_items=settings.max_items,
    )
    decoder = Decoder(
        model, served, limits, Normalization(settings.normalization), max_running=settings.max_running,
        cache_bytes=settings.prefix_cache_mb * 1_000_000,
    )  # fmt: skip
    engine = LocalEngine(decoder, max_queued=settings.max_queued)
    if settings.metrics_port:
        REGISTRY.register(UsageCollector(lambda: _usage(served)))
        start_http_server(settings.metrics_port)

    def announce(address: str) -> None:
        view = served.pin(()).view
        items = {name: len(trie) for name, trie in view.types.items()}
        about = {"model": model.name, "note": model.note, "catalog": served.source.name}
        _log.info("serving", address=address, generation=view.generation, sids=items, **about)
        ready(address)

    follower.start()
    heap.settle()
    try:
        asyncio.run(
            serve(
                engine, model, served, follower, filters=filters, listen=settings.listen,
                max_seconds=settings.max_seconds, drain_seconds=settings.drain_seconds, stop=_stop_signal,
                ready=announce,
            )
        )  # fmt: skip
    finally:
        follower.stop()
        engine.stop()
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
