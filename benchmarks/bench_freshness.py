"""From an event on Kafka to an item that can be generated, across processes: publisher, catalog worker, serving reader.

The publisher, the broker, `neo catalog run` and the reader, which is this process, each have a process of their own.
An event counts as generatable once the reader's newest view, the one that the next span would take, holds the item.

    python -m benchmarks.bench_freshness [--rates 10,100,1000] [--seconds 10]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import report
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.ingest.event import PROTOBUF, encode
from neo_runtime.ingest.local_kafka import LocalKafka
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.producing import KafkaSink
from neo_runtime.ingest.topics import Topics, ensure_topics
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.types import ItemKey, Position

DIMENSION, CODES, LEVELS = 128, 256, 4
ITEMS_TOPIC, AVAILABILITY_TOPIC = "neo.catalog.items", "neo.catalog.availability"
ASSIGNMENTS_TOPIC = "neo.catalog.assignments"
POLL_S = 0.001
GIVE_UP_S = 30.0
WARM_UP = 200


def event(number: int, vector: np.ndarray) -> Upsert:  # type: ignore[type-arg]
    source = RawRecord(Position("bench", 0, number), None, None)
    return Upsert(ItemKey("item", str(number)), 1, f"Item {number}", "", {}, 0.0, vector, "random", source)


@contextmanager
def catalog_worker(folder: Path, bootstrap: str) -> Iterator[None]:
    """`neo catalog run` with the default durability, ready once it follows the topic."""
    env = {"NEO_CATALOG": str(folder / "catalog"), "NEO_KAFKA_BOOTSTRAP": bootstrap, "OMP_NUM_THREADS": "1"}
    log = folder / "worker.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "neo_runtime.cli.main", "catalog", "run"], env={**os.environ, **env},
            stdout=file, stderr=file,
        )  # fmt: skip
    try:
        while '"ready"' not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def publish(bootstrap: str, start: int, rate: float, sent: Any) -> None:
    """In a process of its own, evenly paced; the clock of an event starts when it is handed to the producer."""
    vectors = np.random.default_rng(start).normal(size=(len(sent), DIMENSION)).astype(np.float32)
    records = [KafkaRecord(ITEMS_TOPIC, *encode(event(start + n, v), PROTOBUF)) for n, v in enumerate(vectors)]
    with closing(KafkaSink(bootstrap)) as sink:
        started = time.monotonic() + 0.5
        for number, record in enumerate(records):
            pause = started + number / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            sent[number] = time.monotonic()
            sink.send(record)


def watch(reader: CatalogReader, start: int, sent: Any) -> list[float]:
    """When each item is first in the newest view."""
    seen, under_way, begun = [0.0] * len(sent), set[int](), 0
    heard, generation = time.monotonic(), -1
    while under_way or begun < len(sent):
        assert time.monotonic() < heard + GIVE_UP_S, f"{len(under_way)} items did not arrive"
        time.sleep(POLL_S)
        if reader.view().generation == generation:
            continue
        while begun < len(sent) and sent[begun]:
            under_way.add(begun)
            begun += 1
        pinned = reader.pin([ItemKey("item", str(start + number)) for number in under_way])
        generation, heard = pinned.view.generation, time.monotonic()
        for key in pinned.sids:
            seen[int(key.id) - start] = heard
            under_way.remove(int(key.id) - start)
    return seen


def measure(bootstrap: str, reader: CatalogReader, start: int, count: int, rate: float) -> list[object]:
    before = reader.state().generation
    processes = get_context("spawn")
    sent = processes.Array("d", count, lock=False)
    publisher = processes.Process(target=publish, args=(bootstrap, start, rate, sent))
    publisher.start()
    seen = watch(reader, start, sent)
    publisher.join()
    delays = (np.array(seen) - np.array(sent)) * 1e3
    commits = reader.state().generation - before
    p50, p99 = np.percentile(delays, [50, 99])
    return [f"{rate:,.0f}", f"{count:,}", f"{p50:.1f}", f"{p99:.1f}", f"{delays.max():.1f}", f"{commits:,}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000", help="events a second")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    rates = [float(rate) for rate in arguments.rates.split(",")]
    counts = [int(rate * arguments.seconds) for rate in rates]
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as broker:
        folder = Path(name)
        vectors = np.random.default_rng(0).normal(size=(20_000, DIMENSION)).astype(np.float32)
        codebook = fit_codebook("item", "random", vectors, (CODES,) * LEVELS)
        Catalog.create(folder / "catalog", {"item": codebook}).close()
        ensure_topics(broker.bootstrap, Topics(ITEMS_TOPIC, AVAILABILITY_TOPIC, ASSIGNMENTS_TOPIC))
        with catalog_worker(folder, broker.bootstrap):
            reader, _ = open_reader(folder / "catalog")
            measure(broker.bootstrap, reader, 0, WARM_UP, 100)
            rows, start = [], WARM_UP
            for rate, count in zip(rates, counts, strict=True):
                rows.append(measure(broker.bootstrap, reader, start, count, rate))
                start += count
            reader.store.close()
    header = ["events a second", "events", "p50, ms", "p99, ms", "max, ms", "commits"]
    note = (
        f"Embeddings of {DIMENSION} numbers in the events, {LEVELS} × {CODES} codes, 8 partitions, one broker on "
        "loopback with its default durability, catalog commits with metasync=False (the default)."
    )
    report("freshness", header, rows, note)


if __name__ == "__main__":
    main()
