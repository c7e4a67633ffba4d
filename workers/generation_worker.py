"""The serving process: engine thread and gRPC front over one model and one live catalog."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import structlog
import torch
from prometheus_client import start_http_server

from neo_runtime.catalog.catalog import check_fingerprints, open_reader
from neo_runtime.config import Settings
from neo_runtime.engine.api import EngineLimits
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.serving.server import serve

_log = structlog.get_logger(__name__)


def run(settings: Settings, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. StartupError where model, catalog or port do not allow it."""
    torch.set_num_threads(settings.torch_threads or max(1, (os.cpu_count() or 2) - 1))
    reader, codebooks = open_reader(settings.catalog)
    model = NeoModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
    check_fingerprints(model.fingerprints, {name: book.fingerprint for name, book in codebooks.items()})
    limits = EngineLimits(
        max_context_tokens=model.context_tokens,
        max_beam_width=settings.max_beam_width,
        max_output_tokens=min(settings.max_output_tokens, model.context_tokens),
        max_items=settings.max_items,
    )
    decoder = Decoder(model, reader, limits, Normalization(settings.normalization))
    engine = LocalEngine(decoder, max_running=settings.max_running, max_queued=settings.max_queued)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)

    def announce(address: str) -> None:
        view = reader.view()
        items = {name: len(trie) for name, trie in view.types.items()}
        _log.info("serving", address=address, model=model.name, note=model.note, generation=view.generation, sids=items)
        ready(address)

    try:
        asyncio.run(
            serve(
                engine, model, reader, listen=settings.listen, max_seconds=settings.max_seconds,
                drain_seconds=settings.drain_seconds, stop=_stop_signal, ready=announce,
            )
        )  # fmt: skip
    finally:
        engine.stop()
        reader.store.close()


async def _stop_signal() -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
