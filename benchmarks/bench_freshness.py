"""From an event on Kafka to an item that can be generated, across processes: publisher, catalog worker, serving reader.

Here the publisher and the reader are threads of this process, the broker and `neo catalog run` processes of their own.
An event counts as generatable once the reader's newest view, the one that the next span would take, holds the item.

    python -m benchmarks.bench_freshness [--rates 10,100,1000] [--seconds 10]
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
POLL_S = 0.0003
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


def watch(reader: CatalogReader, wanted: dict[ItemKey, float], seen: dict[ItemKey, float], count: int) -> None:
    """Note when each of `count` wanted items is first in the newest view."""
    heard, generation = time.monotonic(), -1
    while len(seen) < count:
        assert time.monotonic() < heard + GIVE_UP_S, f"{count - len(seen)} items did not arrive"
        time.sleep(POLL_S)
        if reader.view().generation == generation:
            continue
        pinned = reader.pin([key for key in list(wanted) if key not in seen])
        generation, heard = pinned.view.generation, time.monotonic()
        seen.update(dict.fromkeys(pinned.sids, heard))


def publish(sink: KafkaSink, events: list[Upsert], rate: float, wanted: dict[ItemKey, float]) -> None:
    """Evenly paced; the clock of an event starts when it is handed to the producer."""
    started = time.monotonic()
    for number, upsert in enumerate(events):
        pause = started + number / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        record = KafkaRecord(ITEMS_TOPIC, *encode(upsert, PROTOBUF))
        wanted[upsert.key] = time.monotonic()
        sink.send(record)


def measure(sink: KafkaSink, reader: CatalogReader, events: list[Upsert], rate: float) -> list[object]:
    wanted: dict[ItemKey, float] = {}
    seen: dict[ItemKey, float] = {}
    before = reader.state().generation
    watcher = threading.Thread(target=watch, args=(reader, wanted, seen, len(events)))
    watcher.start()
    publish(sink, events, rate, wanted)
    watcher.join()
    delays = np.array([seen[key] - sent for key, sent in wanted.items()]) * 1e3
    commits = reader.state().generation - before
    p50, p99 = np.percentile(delays, [50, 99])
    return [f"{rate:,.0f}", f"{len(events):,}", f"{p50:.1f}", f"{p99:.1f}", f"{delays.max():.1f}", f"{commits:,}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000", help="events a second")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    rates = [float(rate) for rate in arguments.rates.split(",")]
    counts = [int(rate * arguments.seconds) for rate in rates]
    vectors = np.random.default_rng(0).normal(size=(WARM_UP + sum(counts), DIMENSION)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as broker:
        folder = Path(name)
        codebook = fit_codebook("item", "random", vectors[:20_000], (CODES,) * LEVELS)
        Catalog.create(folder / "catalog", {"item": codebook}).close()
        ensure_topics(broker.bootstrap, Topics(ITEMS_TOPIC, AVAILABILITY_TOPIC, ASSIGNMENTS_TOPIC))
        with catalog_worker(folder, broker.bootstrap):
            sink, (reader, _) = KafkaSink(broker.bootstrap), open_reader(folder / "catalog")
            events = [event(number, vector) for number, vector in enumerate(vectors)]
            measure(sink, reader, events[:WARM_UP], 100)
            rows, start = [], WARM_UP
            for rate, count in zip(rates, counts, strict=True):
                rows.append(measure(sink, reader, events[start : start + count], rate))
                start += count
            sink.close()
            reader.store.close()
    header = ["events a second", "events", "p50, ms", "p99, ms", "max, ms", "commits"]
    note = (
        f"Embeddings of {DIMENSION} numbers in the events, {LEVELS} × {CODES} codes, 8 partitions, one broker on "
        "loopback with its default durability, catalog commits with metasync=False (the default)."
    )
    report("freshness", header, rows, note)


if __name__ == "__main__":
    main()
