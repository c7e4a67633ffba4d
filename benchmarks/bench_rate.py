"""How many upserts a second one core keeps up with: a catalog worker behind a full topic of a real Kafka.

All events are on the topic before the worker starts; the worker is tied to one core, the broker has the others. Counted
from the first commit to the last one. `apply` is the work of a catalog that nobody follows: reading, decoding,
quantizing, collisions, one LMDB commit with fsync a batch, offsets. `assign` is `neo catalog run`: the same, and every
item's state in transactions to the changelog, until Kafka has the last of it.

    python -m benchmarks.bench_rate [--events 100000] [--dimension 128] [--codes 256]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.bench_freshness import ASSIGNMENTS_TOPIC, AVAILABILITY_TOPIC, ITEMS_TOPIC, LEVELS, event
from benchmarks.measure import report
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.ingest.event import PROTOBUF
from neo_runtime.ingest.local_kafka import LocalKafka
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.producing import publish_events
from neo_runtime.ingest.source import KafkaSource
from neo_runtime.ingest.topics import Topics, ensure_topics
from neo_runtime.sid.fit import fit_codebook

TOPICS = Topics(ITEMS_TOPIC, AVAILABILITY_TOPIC, ASSIGNMENTS_TOPIC)
GIVE_UP_S = 600.0
APPLY = "apply"


def apply_only(folder: str, bootstrap: str, durable: bool) -> None:
    """What a process of the `apply` rows does."""
    catalog = Catalog.open(Path(folder), durable=durable)
    source = KafkaSource(bootstrap, (ITEMS_TOPIC, AVAILABILITY_TOPIC), catalog.reader.offsets())
    IngestLoop(catalog, source).run(threading.Event())


@contextmanager
def worker(folder: Path, bootstrap: str, kind: str, *, durable: bool) -> Iterator[subprocess.Popen[bytes]]:
    """On the last core."""
    env = {"NEO_CATALOG": str(folder), "NEO_KAFKA_BOOTSTRAP": bootstrap, "NEO_DURABLE": str(durable)}
    call = f"from benchmarks.bench_rate import apply_only; apply_only({str(folder)!r}, {bootstrap!r}, {durable})"
    arguments = ["-c", call] if kind == APPLY else ["-m", "neo_runtime.cli.main", "catalog", "run"]
    core = max(os.sched_getaffinity(0))
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, *arguments], stdout=log, stderr=log,
            env={**os.environ, **env, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def measure(folder: Path, bootstrap: str, kind: str, count: int, *, durable: bool) -> list[object]:
    with worker(folder, bootstrap, kind, durable=durable) as process:
        reader, _ = open_reader(folder)
        deadline = time.monotonic() + GIVE_UP_S

        def upserted() -> int:
            assert process.poll() is None, (folder / "worker.log").read_text()
            assert time.monotonic() < deadline, (folder / "worker.log").read_text()
            time.sleep(0.01)
            return reader.state().counters.get("upserted", 0)

        while not (first := upserted()):
            pass
        began = time.monotonic()
        while (done := upserted()) < count or outbox(reader):
            pass
        seconds, commits = time.monotonic() - began, reader.state().generation
        reader.store.close()
    rate = (done - first) / seconds
    synced = "everything" if durable else "all but the meta page (default)"
    return [kind, synced, f"{count:,}", f"{rate:,.0f}", f"{1e6 / rate:.0f}", f"{commits:,}", f"{count / commits:.0f}"]


def outbox(reader: CatalogReader) -> int:
    with reader.store.read() as txn:
        return txn.entries("outbox")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--codes", type=int, default=256)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(arguments.events, arguments.dimension)).astype(np.float32)
    codebook = fit_codebook("item", "random", vectors[:20_000], (arguments.codes,) * LEVELS)
    rows = []
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as broker:
        ensure_topics(broker.bootstrap, TOPICS)
        events = ((ITEMS_TOPIC, event(number, vector)) for number, vector in enumerate(vectors))
        publish_events(broker.bootstrap, events, content_type=PROTOBUF)
        for kind, durable in ((APPLY, False), (APPLY, True), ("assign", False)):
            folder = Path(name) / f"{kind}-{durable}"
            Catalog.create(folder, {"item": codebook}).close()
            rows.append(measure(folder, broker.bootstrap, kind, arguments.events, durable=durable))
    header = ["work", "synced by a commit", "events", "upserts a second", "µs an upsert", "commits", "events a commit"]
    note = f"Embeddings of {arguments.dimension} numbers in the events, {LEVELS} × {arguments.codes} codes, one core."
    report("rate", header, rows, note)


if __name__ == "__main__":
    main()
