"""From a commit to the next step across processes, and whole generations taken while decoding.

A process writes an LMDB catalog; this one decodes, one request after the other, with a sleep of 1 ms before each step
where a model would be, and looks at the catalog after every step. A change counts as usable once a view that holds it
is restricted for a request.

    python -m benchmarks.bench_commits [--items 1000000] [--swapped 10000000] [--rates 100,2000,20000] [--seconds 8]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import Table, report_tables
from benchmarks.synthetic import BEAMS, LEVELS, Logits, catalog, random_logits, segment, sids, space_of
from neo_runtime import heap
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.records import Base
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.space import Keys
from neo_runtime.trie import Nodes, Row
from neo_runtime.trie.segment import checksum
from neo_runtime.trie.step import step, warm_up
from neo_runtime.types import ItemKey, Position

DIMENSION = 8
MODEL_STEP_S = 0.001
QUIET_S, COMPACT_EVERY_S = 3.0, 1.0
ROUNDS = 3
MOST_EVENTS = 2_000  # a second; beyond, writing whole items would be what is measured
SPAWN = multiprocessing.get_context("spawn")
Stamps = list[tuple[int, float]]
"""Generations, and when each was there (time.monotonic, one clock for all processes)."""


class Followed(NamedTuple):
    """What the decoding process saw. Seconds of each request without its model; SIDs with their generation."""

    seen: Stamps
    requests: list[float]
    found: list[tuple[int, Keys]]


def codebook(kind: str) -> Codebook:
    rng = np.random.default_rng(0)
    sizes = space_of(kind).level_sizes
    return Codebook("item", "random", tuple(rng.normal(size=(n, DIMENSION)).astype(np.float32) for n in sizes))


def create(folder: Path, kind: str, keys: Keys) -> None:
    """A catalog with a base segment; its tables of items stay empty, which a reader does not notice."""
    Catalog.create(folder, {"item": codebook(kind)}).close()
    path = folder / "segments" / "item-1.seg"
    segment(kind, keys, {}).save(path)
    with closing(Store(folder, writable=True)) as store:
        store.transact(lambda txn: take_over(txn, Base(1, {"item": path.name}, {"item": checksum(path)})))


def take_over(txn: Transaction, base: Base) -> None:
    state = txn.state()
    state.generation = base.generation
    txn.put_state(state)
    txn.put_base(base)
    txn.trim_log(base.generation)


def follow(reader: CatalogReader, logits: Logits, goes_on: Callable[[], bool]) -> Followed:
    """Decode until told to stop; the newest view serves the next request."""
    followed = Followed([], [], [])
    trie, generation = reader.view().restrict().tries["item"], -1
    while goes_on():
        nodes, scores, spent, served = trie.root(), np.zeros(1, np.float32), 0.0, trie
        serving = generation
        for level in range(LEVELS):
            time.sleep(MODEL_STEP_S)
            began = time.monotonic()
            steps = step(served, level, nodes, logits[level][: len(scores)], scores, BEAMS)
            count = int(steps.counts[0])
            nodes, scores = Nodes(steps.nodes.base[:count], steps.nodes.delta[:count]), steps.scores[0, :count]
            view = reader.view()
            if view.generation != generation:
                trie, generation = view.restrict().tries["item"], view.generation
                followed.seen.append((generation, time.monotonic()))
            spent += time.monotonic() - began
        followed.requests.append(spent)
        followed.found.append((serving, sids(served, nodes)))
    return followed


def change(folder: Path, rate: float, seconds: float, by_events: bool, stamps: multiprocessing.Queue[Stamps]) -> None:
    """Evenly `rate` new items a second: what is due is one commit, and a compaction runs every second, aside.

    `by_events`: as upserts with embeddings; else only what a reader reads of them is written, the log and the state.
    """
    rng, source = np.random.default_rng(1), RawRecord(Position("bench", 0, 0), None, None)
    total = int(rate * seconds)
    vectors = rng.normal(size=(total if by_events else 0, DIMENSION)).astype(np.float32)
    keys = [ItemKey("item", f"n{number}") for number in range(len(vectors))]
    events = [Upsert(key, 1, key.id, "", {}, 0.0, v, "random", source) for key, v in zip(keys, vectors, strict=True)]
    drawn = rng.integers(0, 1 << 32, total, dtype=np.uint64).tolist()
    noted: Stamps = []
    with closing(Catalog.open(folder)) as book:
        plain = book.store.transact

        def transact(body: Callable[[Transaction], object]) -> object:
            applied = plain(body)
            noted.append((getattr(applied, "generation", 0), time.monotonic()))
            return applied

        book.store.transact = transact  # type: ignore[method-assign, assignment]
        done, began, compacted = 0, time.monotonic(), time.monotonic()
        while done < total:
            due = min(int((time.monotonic() - began) * rate) + 1, total)
            if due == done:
                time.sleep(max(began + done / rate - time.monotonic(), 0.0002))
                continue
            if by_events:
                book.apply(events[done:due])
            else:
                generation = book.store.transact(lambda txn, some=slice(done, due): log(txn, drawn[some]))  # type: ignore[misc]
                noted[-1] = (generation, noted[-1][1])
                book.apply(())  # follows what was written, and takes what a compaction has made
            done = due
            if time.monotonic() > compacted + COMPACT_EVERY_S:
                book._compact_aside()
                compacted = time.monotonic()
        took = time.monotonic() - began
        assert not book.reader.state().dead_letters
    stamps.put([(done, took), *noted])


def log(txn: Transaction, packed: list[int]) -> int:
    state = txn.state()
    state.generation += 1
    txn.put_log(state.generation, {"item": [(sid, (Row(f"n{sid}"),)) for sid in packed]})
    txn.put_state(state)
    return state.generation


def percentiles(values: list[float]) -> list[str]:
    """p50, p99 and maximum in milliseconds."""
    return [f"{value * 1e3:.2f}" for value in (*np.percentile(values, [50, 99]), max(values))]


def commits(folder: Path, kind: str, rate: float, seconds: float, by_events: bool) -> list[object]:
    reader, _ = open_reader(folder)
    logits = random_logits(np.random.default_rng(2), space_of(kind), 1)
    with closing(reader.store):
        until = time.monotonic() + QUIET_S
        quiet = follow(reader, logits, lambda: time.monotonic() < until)
        stamps: multiprocessing.Queue[Stamps] = SPAWN.Queue()
        process = SPAWN.Process(target=change, args=(folder, rate, seconds, by_events, stamps))
        process.start()
        busy = follow(reader, logits, lambda: stamps.empty() and process.is_alive())
        (done, took), *noted = stamps.get(timeout=10)
        process.join()
        last = follow(reader, logits, iter((True, False)).__next__)
    delays = lags([(g, at) for g, at in noted if g], busy.seen + last.seen)
    how = "events" if by_events else "log alone"
    achieved = f"{done / took:,.0f}"
    return [
        f"{rate:,.0f}", how, achieved, f"{len(noted):,}", *percentiles(delays),
        *percentiles(quiet.requests)[:2], *percentiles(busy.requests)[:2],
    ]  # fmt: skip


def lags(committed: Stamps, seen: Stamps) -> list[float]:
    """Of each generation: from its commit until the first view that holds it; 0 where it was seen before the writer's
    own call had returned.
    """
    generations = np.array([generation for generation, _ in seen])
    places = np.searchsorted(generations, [generation for generation, _ in committed])
    return [
        max(seen[place][1] - at, 0.0) for place, (_, at) in zip(places.tolist(), committed, strict=True)
        if place < len(seen)
    ]  # fmt: skip


def swap(folder: Path, sources: list[tuple[str, str]], swaps: Event, over: Event) -> None:
    """While `swaps` is set, another of the whole base segments (path, checksum) becomes the catalog every second."""
    with closing(Store(folder, writable=True)) as store:
        generation = 1
        while not over.wait(1.0):
            if not swaps.is_set():
                continue
            generation += 1
            source, digest = sources[generation % len(sources)]
            file = folder / "segments" / f"item-{generation}.seg"
            os.link(source, file)
            base = Base(generation, {"item": file.name}, {"item": digest})
            store.transact(lambda txn, base=base: take_over(txn, base))  # type: ignore[misc]
            (folder / "segments" / f"item-{generation - 1}.seg").unlink()


def swapping(folder: Path, kind: str, size: int, seconds: float) -> list[list[object]]:
    """Rows for decoding without and with swaps, in turns."""
    all_keys = [catalog(kind, size, seed) for seed in (1, 2)]  # of even and odd generations
    folder.mkdir()
    sources = []
    for number, keys in enumerate(all_keys):
        path = folder / f"source-{number}.seg"
        sources.append((str(path), segment(kind, keys, {}).save(path)))
    create(folder / "catalog", kind, all_keys[1])
    swaps, over = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=swap, args=(folder / "catalog", sources, swaps, over))
    process.start()
    logits = random_logits(np.random.default_rng(2), space_of(kind), 1)
    reader, _ = open_reader(folder / "catalog")
    followed: dict[str, list[Followed]] = {"none": [], "one a second": []}
    with closing(reader.store):
        for _ in range(ROUNDS):
            for name, parts in followed.items():
                (swaps.set if name != "none" else swaps.clear)()
                until = time.monotonic() + seconds
                parts.append(follow(reader, logits, lambda until=until: time.monotonic() < until))  # type: ignore[misc]
    over.set()
    process.join()
    rows: list[list[object]] = []
    for name, parts in followed.items():
        requests = [spent for part in parts for spent in part.requests]
        found = [entry for part in parts for entry in part.found if entry[0] > 0]
        invalid = sum(absent(all_keys[generation % 2], keys) for generation, keys in found)
        taken = sum(max(len(part.seen) - 1, 0) for part in parts)
        short = sum(len(keys) != BEAMS for _, keys in found)
        rows.append([kind, f"{size:,}", name, taken, f"{len(requests):,}", *percentiles(requests), invalid, short])
    return rows


def absent(ascending: Keys, keys: Keys) -> int:
    """How many of `keys` are not there."""
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return int((ascending[places] != keys).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--swapped", type=int, default=10_000_000)
    parser.add_argument("--rates", default="100,2000,20000", help="changes a second")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--folder", type=Path, help="where the catalogs go for the time of the run")
    arguments = parser.parse_args()
    warm_up()
    heap.settle()  # as a worker does
    written: list[list[object]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for rate in map(float, arguments.rates.split(",")):
            folder = Path(name) / f"{rate:.0f}"
            create(folder, "z256", catalog("z256", arguments.items))
            written.append(commits(folder, "z256", rate, arguments.seconds, rate <= MOST_EVENTS))
        swapped = swapping(Path(name) / "swap", "u1024", arguments.swapped, arguments.seconds)
    report_tables("static-commits", {
        "Commit to usable view, ms": Table(
            f"z256, {arguments.items:,} items; compactions run aside, one a second. `log alone`: the writer writes what"
            " a reader reads of a change, nothing else. Decode: one request without its model, before and meanwhile.",
            ["changes a second", "written as", "reached", "commits", "p50", "p99", "max", "decode p50 before",
             "p99 before", "decode p50", "p99"], written,
        ),
        "A whole generation taken while decoding, ms": Table(
            "The looks at the catalog, the opening of the new base and its first touch are inside the request's time.",
            ["catalog", "items", "swaps", "taken", "requests", "p50", "p99", "max", "SIDs not of their generation",
             "requests short of SIDs"], swapped,
        ),
    })  # fmt: skip


if __name__ == "__main__":
    main()
