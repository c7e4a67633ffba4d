"""A generation worker's server in this process: a test sees its engine, stops it, and sees when it is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.serving.server import serve
from tests.kit import running, tiny

MAX_TOKENS = 6_000


class Worker:
    """Over a catalog that it closes. Its answers are long: none ends by itself."""

    def __init__(self, catalog: Catalog, *, max_seconds: float, drain_seconds: float) -> None:
        self.catalog = catalog
        model = tiny.model(shape=tiny.LONG)
        limits = replace(
            running.LIMITS, max_context_tokens=model.context_tokens, max_output_tokens=MAX_TOKENS, max_items=1_000
        )
        decoder = Decoder(model, self.catalog.reader, limits)
        decoder.banned = np.array(sorted({*decoder.banned, *decoder.end_tokens}))  # no answer ends early
        self.decoder, self.engine, self.address = decoder, LocalEngine(decoder), ""
        self._stop, self._ready = threading.Event(), threading.Event()
        self._settings = {"listen": "127.0.0.1:0", "max_seconds": max_seconds, "drain_seconds": drain_seconds}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(model)))
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self, model: object) -> None:
        def ready(address: str) -> None:
            self.address = address
            self._ready.set()

        async def stop() -> None:
            await asyncio.to_thread(self._stop.wait)

        served, follower = running.served(self.catalog.reader), running.follower(self.catalog.store.path)
        await serve(self.engine, model.about, served, follower, filters={}, stop=stop, ready=ready, **self._settings)  # type: ignore[arg-type]

    def all_memory_is_free(self) -> bool:
        """Whether as many requests could begin as fit. Only asked of an engine that has nothing to do."""
        contexts = []
        try:
            contexts += [self.decoder.backbone.context() for _ in range(self.decoder.max_running)]
        except IndexError:
            return False
        finally:
            for context in contexts:
                context.close()
        return True

    def stop(self) -> float:
        """Seconds until it is gone."""
        started = time.monotonic()
        self._stop.set()
        self._thread.join(30)
        return time.monotonic() - started


@contextmanager
def worker(
    folder: Path, *, catalog: Catalog | None = None, max_seconds: float = 60.0, drain_seconds: float = 20.0
) -> Iterator[Worker]:
    """`catalog`: another one than a small one in `folder`."""
    catalog = catalog or tiny.catalog(folder / "c", 5)
    made = Worker(catalog, max_seconds=max_seconds, drain_seconds=drain_seconds)
    try:
        yield made
    finally:
        made.stop()
        made.engine.stop()
        made.catalog.close()
