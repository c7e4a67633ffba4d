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
from neo_runtime.engine import gate
from neo_runtime.engine.api import EngineLimits
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.precision import fastest
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
    heap.keep()
    torch.set_num_threads(settings.torch_threads or max(1, (os.cpu_count() or 2) - 1))
    model = NeoModel.load(settings.model, dtype=_dtype(settings), device=settings.device)
    instance = settings.instance or uuid.uuid4().hex[:12]
    follower = AliasFollower(Snapshots.of(settings), settings.catalog, model.fingerprints, instance)
    served = follower.begin()
    if settings.dtype == "int8":
        _quantize(settings, model, served)
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


def _dtype(settings: Settings) -> torch.dtype:
    """Of the weights as they are loaded; what int8 leaves as it is has it too."""
    if settings.dtype in ("auto", "int8"):
        return fastest(NeoModel.shapes(settings.model), settings.device)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return dtype


def _quantize(settings: Settings, model: NeoModel, served: ServedCatalog) -> None:
    recorded = gate.read_recorded(settings.gate or settings.model / gate.FILE)
    gate.quantize_through_gate(
        model, served, recorded, Normalization(settings.normalization),
        min_overlap=settings.gate_min_overlap, max_hit_loss=settings.gate_max_hit_loss,
    )  # fmt: skip


def _usage(served: ServedCatalog) -> Usage:
    with served.hold() as source:
        return source.reader.store.usage()


async def _stop_signal() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
