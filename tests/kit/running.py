"""Run an engine over a catalog in this process, and wait for answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.engine import ask
from neo_runtime.engine.api import Engine, EngineEvent, EngineLimits, Work
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.snapshot.aliases import EVENTS
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog, Source
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore

LIMITS = EngineLimits(max_context_tokens=256, max_beam_width=512, max_output_tokens=128, max_items=16)


@contextmanager
def engine(
    model: NeoModel, reader: CatalogReader, *, normalization: Normalization = Normalization.LEARNED,
    max_queued: int = 256, cache_bytes: int = 0,
) -> Iterator[LocalEngine]:  # fmt: skip
    running = LocalEngine(Decoder(model, reader, LIMITS, normalization, cache_bytes=cache_bytes), max_queued=max_queued)
    try:
        yield running
    finally:
        running.stop()


def served(reader: CatalogReader) -> ServedCatalog:
    """An open reader as what a worker serves."""
    return ServedCatalog(Source(EVENTS, reader.snapshot, reader, (reader.store.path / "data.mdb").stat().st_ino))


def follower(catalog: Path) -> AliasFollower:
    """One that is not started: it stays with what is served."""
    return AliasFollower(Snapshots(LocalStore(catalog / "snapshots")), catalog, {}, "test")


def answer(running: Engine, work: Work) -> list[EngineEvent]:
    """Every event of one request; raises the error that ended it."""
    return ask.answer(running, work, timeout_s=60)


def answers(running: Engine, works: Sequence[Work]) -> list[list[EngineEvent]]:
    """Of requests that run side by side: every event of each."""
    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(lambda work: answer(running, work), works))
