"""The catalog worker as a process, followed through its catalog folder and its log."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from tests.kit import brokers, processes


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that new catalogs take their codebooks from. They have no embedder."""
    from tests.kit import tiny  # imports torch: every test session loads this module

    folder = tmp_path_factory.mktemp("model")
    tiny.model().save(folder)
    return folder


def until(condition: Callable[[], object], what: str, evidence: Callable[[], str], timeout_s: float = 60) -> None:
    """Wait for `condition`; a failure says what was waited for, and shows the evidence."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}\n{evidence()}")
        time.sleep(0.005)


class CatalogWorker:
    """`neo catalog run` on one catalog folder, as often as it is started. Use `catalog_worker` to have it ended."""

    def __init__(self, folder: Path, model: Path, **settings: str) -> None:
        self.catalog, self._log_file = folder / "catalog", folder / "worker.log"
        self.env = {"NEO_CATALOG": str(self.catalog), "NEO_MODEL": str(model), "NEO_KAFKA_BOOTSTRAP": ""}
        self.env["NEO_KEEP_DELETED_SECONDS"] = "1e9"  # the changes of tests are of 2025
        self.env |= {f"NEO_{name.upper()}": value for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.module = "neo_runtime.cli.main"

    def start(self, *options: str, wait: bool = True) -> None:
        ready = len(self.logged("ready"))
        self.process = processes.start("catalog", "run", *options, log=self._log_file, env=self.env, module=self.module)
        if wait:
            self.wait(lambda: len(self.logged("ready")) > ready, "a ready worker")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        return processes.stop(self.process)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def exit_code(self, timeout_s: float = 60) -> int:
        """Wait for a worker that ends by itself."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker still runs after {timeout_s:g} s\n{self.log()}") from None

    def log(self) -> str:
        return self._log_file.read_text() if self._log_file.exists() else ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log entries of that name, of all runs."""
        lines = [line for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
        """See `until`; a worker that ended cannot fulfil anything any more."""

        def holds() -> object:
            alive = self.process is not None and self.process.poll() is None
            if not (done := condition()) and not alive:
                raise AssertionError(f"the worker ended before there was {what}\n{self.log()}")
            return done

        until(holds, what, self.evidence, timeout_s)

    def evidence(self) -> str:
        offsets = self.reader.offsets() if (self.catalog / "data.mdb").exists() else "no catalog"
        return f"offsets: {offsets}; the worker's log:\n{self.log()[-6_000:]}"

    @cached_property
    def reader(self) -> CatalogReader:
        """In this process, through all restarts of the worker. There has to be a catalog."""
        reader, _ = open_reader(self.catalog)
        return reader

    def outbox(self) -> int:
        with self.reader.store.read() as txn:
            return txn.entries("outbox")

    def counters(self) -> dict[str, int]:
        return self.reader.state().counters

    def read_up_to(self, ends: dict[tuple[str, int], int], timeout_s: float = 60) -> None:
        topics = {topic for topic, _ in ends}

        def read() -> dict[tuple[str, int], int]:
            return {place: offset for place, offset in self.reader.offsets().items() if place[0] in topics}

        self.wait(lambda: read() == ends, f"a catalog that has read up to {ends}", timeout_s)

    def catch_up(self, bootstrap: str, topics: brokers.Topics, timeout_s: float = 60) -> None:
        """Wait until all that is in the items topic is applied, and all that came of it is published."""
        self.read_up_to(brokers.end_offsets(bootstrap, topics.items), timeout_s)
        self.wait(lambda: self.outbox() == 0, "an outbox that Kafka has all of", timeout_s)

    def close(self) -> None:
        self.kill()
        if "reader" in self.__dict__:
            self.reader.store.close()


@contextmanager
def catalog_worker(folder: Path, model: Path, **settings: str) -> Iterator[CatalogWorker]:
    """Not started yet; killed at the end, if it still runs."""
    worker = CatalogWorker(folder, model, **settings)
    try:
        yield worker
    finally:
        worker.close()


@contextmanager
def kafka_worker(
    folder: Path, model: Path, bootstrap: str, topics: brokers.Topics, **settings: str
) -> Iterator[CatalogWorker]:
    """The same, between the topics of a broker."""
    named = {"kafka_bootstrap": bootstrap, "items_topic": topics.items, "assignments_topic": topics.assignments}
    named["availability_topic"] = topics.availability
    with catalog_worker(folder, model, **named, partitions="3", **settings) as worker:
        yield worker
