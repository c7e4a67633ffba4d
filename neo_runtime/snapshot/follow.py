"""Bring a worker to what the aliases say: open next to what is served, then swap. A thread of the worker.

Moves are taken by their number, never back to an older one; those that a newer one overtook are passed over. What
cannot be served is not swapped to: the worker stays where it is, says so, and tries again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from neo_runtime.catalog.catalog import check_fingerprints, open_reader
from neo_runtime.errors import NeoError, SnapshotError
from neo_runtime.observability import metrics
from neo_runtime.sid.codebook import fingerprints
from neo_runtime.snapshot.aliases import EVENTS, Target
from neo_runtime.snapshot.restore import on_this_machine
from neo_runtime.snapshot.served import ServedCatalog, Source
from neo_runtime.snapshot.snapshots import Snapshots

_log = structlog.get_logger(__name__)
RETRY_S = 2.0
# After each megabyte that is checked beside running answers, ten times as long as checking it takes: nobody waits for a
# swap, and on few cores the model would wait for the check.
_CHECK_PAUSE_S = 0.006


class AliasFollower:
    """`begin` opens what is to be served, or refuses; `start` follows the aliases until `stop`."""

    def __init__(self, snapshots: Snapshots, catalog: Path, fingerprints: Mapping[str, str], instance: str) -> None:
        self.snapshots, self._catalog, self._fingerprints = snapshots, catalog, fingerprints
        self.instance = instance
        self.sequence = 0
        """Of the newest move that was seen."""
        self.failure = ""
        """Why that move is not served; empty where it is."""
        self._is_serving = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neo-aliases", daemon=True)

    def begin(self) -> ServedCatalog:
        """StartupError where the live alias cannot be served: to serve something else would undo a rollback."""
        try:
            state = self.snapshots.aliases.read()
        except OSError as error:
            where = self.snapshots.store.location
            raise SnapshotError(f"the aliases in {where} cannot be read ({error}); make the store reachable") from error
        target = state.live.of(self.instance)
        self._served, self.sequence = ServedCatalog(self._open(target)), state.sequence
        self._is_serving = True
        self._tell()
        return self._served

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self.snapshots.store.poll_s
        while not self._stop.wait(RETRY_S if self.failure else pause):
            self.look()

    def look(self) -> None:
        """Close what nobody needs any more, take the newest move, if there is one; never raises."""
        try:
            self._served.close_unheld()
            numbers = self.snapshots.store.alias_numbers()
            if numbers and (numbers[-1] > self.sequence or self.failure):
                state = self.snapshots.aliases.read()
                self._go_to(state.live.of(self.instance))
                self.sequence, self.failure = state.sequence, ""
            elif self._served.source.is_replaced:
                self._served.swap(self._open(self._served.source.target))
                self._tell()
        except Exception as error:  # a store that cannot be reached must not end the worker
            if str(error) != self.failure:
                _log.warning("not swapped", why=str(error), serving=self._served.source.name, exc_info=_is_bug(error))
                metrics.SWAPS.labels("refused").inc()
            self.failure = str(error) or type(error).__name__
        metrics.ALIAS_SEQUENCE.set(self.sequence)

    def _go_to(self, target: Target) -> None:
        if target == self._served.source.target:
            return
        started = time.monotonic()
        if not self._served.swap_back(target):
            source = self._open(target)
            ready = time.monotonic()
            self._served.swap(source)
            metrics.SWAP_SECONDS.observe(time.monotonic() - ready)
        metrics.SWAPS.labels("done").inc()
        self._tell()
        _log.info("swapped", to=self._served.source.name, seconds=round(time.monotonic() - started, 3))

    def _open(self, target: Target) -> Source:
        folder, resource = self._catalog, ""
        if target != EVENTS:
            snapshot = self.snapshots.pinned(target)
            check_fingerprints(self._fingerprints, snapshot.manifest.codebooks)
            folder = on_this_machine(self.snapshots.store, snapshot, self._catalog, self._pause)
            resource = snapshot.manifest.resource
        return open_source(folder, target, resource, self._fingerprints)

    def _pause(self, _size: int) -> None:
        if self._is_serving:
            self._stop.wait(_CHECK_PAUSE_S)

    def _tell(self) -> None:
        metrics.SERVED_SNAPSHOT.clear()
        metrics.SERVED_SNAPSHOT.labels(self._served.source.name).set(1)


def open_source(folder: Path, target: Target, resource: str, of_model: Mapping[str, str]) -> Source:
    """Open, check against the model, and warm up: what the first step would compute or read is there before it."""
    file = (folder / "data.mdb").stat().st_ino if (folder / "data.mdb").exists() else 0
    reader, codebooks = open_reader(folder, frozen=target != EVENTS)
    try:
        check_fingerprints(of_model, fingerprints(codebooks))
        for trie in reader.view().restrict().tries.values():
            if not trie.is_empty:
                trie.children(0, trie.root())
    except BaseException:
        reader.store.close()
        raise
    return Source(target, resource or reader.snapshot, reader, file)


def _is_bug(error: Exception) -> bool:
    return not isinstance(error, NeoError | OSError)
