"""How many upserts a second one core keeps up with: a catalog worker behind a full topic of a real Kafka.

All events are on the topic before the worker starts; the worker is tied to one core, the broker has the others. Counted
from the first commit to the last one. `apply` is the work of a catalog that nobody follows: reading, decoding,
quantizing, collisions, one LMDB commit with fsync a batch, offsets. `assign` is `neo catalog run`: the same, and every
item's state in transactions to the changelog, until Kafka has the last of it. That is the work of a second process, the
sender: it shares the worker's core, or has the others with the broker (`assign, two cores`). Processor time is what a
busy machine leaves as it is.

    python -m benchmarks.bench_rate [--events 100000] [--dimension 128] [--codes 256] [--work assign]
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
from neo_runtime import heap
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
APPLY, ASSIGN, TWO_CORES = "apply", "assign", "assign, two cores"


def apply_only(folder: str, bootstrap: str, durable: bool) -> None:
    """What a process of the `apply` rows does."""
    catalog = Catalog.open(Path(folder), durable=durable)
    source = KafkaSource(bootstrap, (ITEMS_TOPIC, AVAILABILITY_TOPIC), catalog.reader.offsets())
    heap.settle()
    IngestLoop(catalog, source).run(threading.Event())


@contextmanager
def worker(folder: Path, bootstrap: str, kind: str, *, durable: bool) -> Iterator[subprocess.Popen[bytes]]:
    """On the last core."""
    env = {"NEO_CATALOG": str(folder), "NEO_KAFKA_BOOTSTRAP": bootstrap, "NEO_DURABLE": str(durable)}
    env["NEO_ASSIGNMENTS_TOPIC"] = folder.name  # a changelog that somebody has written would be followed first
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


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def set_free(pid: int) -> None:
    """From its parent's core, with all its threads."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), os.sched_getaffinity(0))


def processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


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
        senders = children(process.pid)
        if kind == TWO_CORES:
            set_free(*senders)
        began, used = time.monotonic(), [processor_seconds(pid) for pid in (process.pid, *senders)]
        while (done := upserted()) < count or outbox(reader):
            pass
        seconds, commits = time.monotonic() - began, reader.state().generation
        used = [processor_seconds(pid) - before for pid, before in zip((process.pid, *senders), used, strict=True)]
        reader.store.close()
    count = done - first
    rate, each = count / seconds, [f"{1e6 * one / count:.0f}" for one in used] + ["-"]
    synced = "everything" if durable else "all but the meta page (default)"
    return [kind, synced, f"{count:,}", f"{rate:,.0f}", f"{1e6 / rate:.0f}", *each[:2], f"{commits:,}"]


def outbox(reader: CatalogReader) -> int:
    with reader.store.read() as txn:
        return txn.entries("outbox")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--work", help="that kind of row alone")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(arguments.events, arguments.dimension)).astype(np.float32)
    codebook = fit_codebook("item", "random", vectors[:20_000], (arguments.codes,) * LEVELS)
    rows = []
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as broker:
        ensure_topics(broker.bootstrap, TOPICS)
        events = ((ITEMS_TOPIC, event(number, vector)) for number, vector in enumerate(vectors))
        publish_events(broker.bootstrap, events, content_type=PROTOBUF)
        for kind, durable in ((APPLY, False), (APPLY, True), (ASSIGN, False), (TWO_CORES, False)):
            if arguments.work not in (None, kind):
                continue
            folder = Path(name) / f"{kind}-{durable}".replace(", ", "-").replace(" ", "-")
            Catalog.create(folder, {"item": codebook}).close()
            rows.append(measure(folder, broker.bootstrap, kind, arguments.events, durable=durable))
    header = ["work", "synced by a commit", "events", "upserts a second", "µs an upsert"]
    header += ["processor time of the worker, µs", "of the sender", "commits"]
    codes = f"{LEVELS} × {arguments.codes} codes"
    note = f"Embeddings of {arguments.dimension} numbers in the events, {codes}, the worker on one core."
    report("rate", header, rows, note)


if __name__ == "__main__":
    main()
