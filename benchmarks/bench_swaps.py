"""The catalog changed ten times a second under load: what steps of the engine notice, and whether every span is valid.

The engine is a process of its own, as in a worker; text streams, streams of spans and ranked lists run all the time.
In turns: nothing changes; a writer in another process makes ten commits a second, each a generation; one does so in a
copy of the catalog that nobody serves, which shows what its use of the machine costs alone; the worker's follower swaps
what is served ten times a second, between two snapshots that differ in half of their items. Mostly an answer holds the
other one open still, and a swap is what it is meant to be: a pointer, in two processes.

A step is the time between two texts of one stream, where its client takes them: every pass of the engine feeds that
stream's next token, so nothing that holds a pass up is left out, and the pipe and the waiting process are in it. Every
tuple of every span and list is looked up in what LMDB's tables said of the generation or the snapshot that it names.

    python -m benchmarks.bench_swaps [--kind tiny] [--dtype float32] [--items 50000] [--seconds 8] [--repeats 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.engine_models import DIMENSION, catalog_of, model_of, prompt_of
from benchmarks.measure import report
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, RawRecord, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.config import Settings
from neo_runtime.engine.api import (
    Decoding,
    EngineEvent,
    Finished,
    GenerateWork,
    OutputFormat,
    Ranked,
    RankedList,
    RankWork,
    Span,
    TextChunk,
    Work,
)
from neo_runtime.engine.process import EngineProcess
from neo_runtime.errors import NeoError
from neo_runtime.model.about import ModelAbout
from neo_runtime.observability.logging import configure_logging
from neo_runtime.sid.codebook import Codebook
from neo_runtime.snapshot.aliases import EVENTS, serve
from neo_runtime.snapshot.create import create_snapshot
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore
from neo_runtime.types import ItemKey, Position

RATE, CHANGES = 10, 50  # a second; of a commit
TEXTS, SPANS, LISTS, PROMPT, BEAMS = 4, 2, 2, 64, 30
SNAPSHOTS = ("a", "b")
SPAWN = multiprocessing.get_context("spawn")
SOURCE = RawRecord(Position("bench", 0, 0), None, None)
Homes = dict[ItemKey, int]
"""Item to its packed SID."""
Commits = list[tuple[int, dict[ItemKey, int | None]]]
"""Generations in their order, and what each changed; None: the item is gone."""


class Found(NamedTuple):
    """Of one span or list."""

    snapshot: str
    generation: int
    ranked: tuple[Ranked, ...]


@dataclass
class Seen:
    """Of one kind of changes, over all repeats."""

    steps: list[list[float]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    changes: int = 0
    seconds: float = 0.0


class Load:
    """Whenever a request ends, another one of its kind begins."""

    def __init__(self, engine: EngineProcess, served: ServedCatalog) -> None:
        self._engine, self._served, self._rng = engine, served, np.random.default_rng(1)
        self._ended, self._is_over, self._last = threading.Semaphore(0), False, 0.0
        self._failures: list[NeoError] = []
        self.steps, self.found = list[float](), list[Found]()

    def run(self, seconds: float) -> None:
        kinds = [self._text] * TEXTS + [self._spans] * SPANS + [self._list] * LISTS
        for number, work_of in enumerate(kinds):
            self._begin(work_of, is_clock=number == 0)
        time.sleep(seconds)
        self._is_over = True
        for _ in kinds:
            self._ended.acquire()
        assert not self._failures, self._failures

    def _begin(self, work_of: Callable[[], Work], is_clock: bool) -> None:
        held = ExitStack()  # as the front end does for the length of an answer
        held.enter_context(self._served.hold())
        self._engine.submit(work_of(), partial(self._take, work_of=work_of, is_clock=is_clock, held=held))

    def _take(
        self, event: EngineEvent | NeoError, work_of: Callable[[], Work], is_clock: bool, held: ExitStack
    ) -> None:
        now = time.perf_counter()
        if isinstance(event, TextChunk) and is_clock and not self._is_over:
            if self._last:
                self.steps.append(now - self._last)
            self._last = now
        if isinstance(event, Span | RankedList):
            self.found.append(Found(event.snapshot.rpartition("/")[-1], event.generation, event.ranked))
        if isinstance(event, NeoError):
            self._failures.append(event)
        if isinstance(event, Finished | RankedList | NeoError):
            held.close()
            self._last = 0.0 if is_clock else self._last
            if self._is_over or self._failures:
                self._ended.release()
            else:
                self._begin(work_of, is_clock)

    def _text(self) -> GenerateWork:
        decoding = Decoding(max_output_tokens=256)
        return GenerateWork(prompt_of(PROMPT, self._rng), decoding=decoding, format=OutputFormat.TEXT_ONLY)

    def _spans(self) -> GenerateWork:
        decoding = Decoding(temperature=1.0, seed=int(self._rng.integers(1 << 31)))
        prompt = prompt_of(PROMPT, self._rng)
        return GenerateWork(prompt, decoding=decoding, format=OutputFormat.ITEMS_ONLY, alternatives=4)

    def _list(self) -> RankWork:
        return RankWork(prompt_of(PROMPT, self._rng), max_results=BEAMS)


def upserts(keys: list[ItemKey], moment: int, rng: np.random.Generator) -> list[Upsert]:
    vectors = rng.normal(size=(len(keys), DIMENSION)).astype(np.float32)
    return [
        Upsert(key, moment, f"Item {key.id}", "", {}, 0.0, vector, "random", SOURCE)
        for key, vector in zip(keys, vectors, strict=True)
    ]


def write(
    folder: Path, items: int, writes: Event, over: Event, done: Synchronized[int],
    told: multiprocessing.Queue[Commits],
) -> None:  # fmt: skip
    """While `writes` is set: of each commit three fifths move, one fifth goes, one fifth is new."""
    rng, commits, part = np.random.default_rng(2), Commits(), CHANGES // 5
    with closing(Catalog.open(folder)) as catalog:
        due = time.monotonic()
        while not over.is_set():
            if not writes.wait(0.1):
                due = time.monotonic()
                continue
            moment = 10 + len(commits)
            chosen = [ItemKey("item", str(n)) for n in rng.choice(items, 4 * part, replace=False)]
            new = [ItemKey("item", f"{moment}-{n}") for n in range(part)]
            gone = [Delete(key, moment, False, SOURCE) for key in chosen[:part]]
            catalog.apply([*upserts(chosen[part:] + new, moment, rng), *gone])
            pinned = catalog.reader.pin(chosen + new)
            commits.append((pinned.view.generation, {key: pinned.sids.get(key) for key in chosen + new}))
            done.value = len(commits)
            due += 1 / RATE
            time.sleep(max(due - time.monotonic(), 0))
    told.put(commits)


class Writer:
    """A process that writes a catalog, when it is told to."""

    def __init__(self, folder: Path, items: int) -> None:
        self.writes, self._over, self._told = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
        self._done: Synchronized[int] = SPAWN.Value("i", 0)
        arguments = folder, items, self.writes, self._over, self._done, self._told
        self._process = SPAWN.Process(target=write, args=arguments, daemon=True)
        self._process.start()

    @property
    def commits(self) -> int:
        return self._done.value

    def end(self) -> Commits:
        self._over.set()
        commits: Commits = self._told.get(timeout=60)
        self._process.join()
        return commits


class Swapping(threading.Thread):
    """The worker's follower, told to go to one snapshot after the other, and at last back to the live catalog."""

    def __init__(self, follower: AliasFollower) -> None:
        super().__init__()
        self._follower, self.stopped, self.swaps = follower, threading.Event(), 0

    def run(self) -> None:
        snapshots = self._follower.snapshots
        targets = cycle([snapshots.named(name).target for name in SNAPSHOTS])
        due = time.monotonic()
        while not self.stopped.wait(max(due - time.monotonic(), 0)):
            self._go_to(serve(next(targets)))
            self.swaps += 1
            due += 1 / RATE
        self._go_to(serve(EVENTS))

    def _go_to(self, move: Callable[..., str]) -> None:
        self._follower.snapshots.aliases.move(move)
        self._follower.look()
        assert not self._follower.failure, self._follower.failure


def homes_of(reader: CatalogReader) -> Homes:
    with reader.store.read() as txn:
        return {ItemKey("item", item): sid for sid, bearers in txn.sids("item") for _, item in bearers}


def prepare(folder: Path, kind: str, dtype: torch.dtype, items: int) -> tuple[Codebook, dict[str, Homes]]:
    """Model, catalog and snapshots; returns what is in each, also in the catalog itself, `live`."""
    catalog, codebook = catalog_of(folder / "catalog", items)
    catalog.close()
    model_of(kind, dtype, codebook).save(folder / "model")
    store, homes = LocalStore(folder / "snapshots"), dict[str, Homes]()
    for moment, name in enumerate(SNAPSHOTS):
        with closing(Catalog.open(folder / "catalog")) as catalog:
            moved = [ItemKey("item", str(n)) for n in range(0, items, 2)]
            catalog.apply(upserts(moved, 2 + moment, np.random.default_rng(moment)))
            catalog.compact()
            homes["live"] = homes[name] = homes_of(catalog.reader)
        create_snapshot(folder / "catalog", store, name=name)
    return codebook, homes


def invalid(found: list[Found], codebook: Codebook, homes: Mapping[str, Homes], commits: Commits) -> int:
    """How many spans and lists name an item that is not on that SID in the state that they name."""
    now, left, bad = dict(homes["live"]), iter([*commits, (1 << 62, {})]), 0
    generation, changed = next(left)
    for one in sorted(found, key=lambda one: one.generation):
        while generation <= one.generation and one.snapshot not in homes:
            now.update(changed)  # type: ignore[arg-type]
            generation, changed = next(left)
        held = homes.get(one.snapshot, now)
        bad += not all(
            held.get(ItemKey(row.item_type, item)) == codebook.space.pack_one(row.codes)
            for row in one.ranked for item in row.item_ids
        )  # fmt: skip
    return bad


class Bench:
    """One engine, and all that can change what it serves. The second writer's catalog is not served."""

    def __init__(
        self, follower: AliasFollower, engine: EngineProcess, served: ServedCatalog, writers: tuple[Writer, Writer]
    ) -> None:
        self._follower, self._engine, self._served, self._writers = follower, engine, served, writers

    @contextmanager
    def nothing(self, seen: Seen) -> Iterator[None]:
        yield

    @contextmanager
    def commits(self, seen: Seen, writer: Writer) -> Iterator[None]:
        before = writer.commits
        writer.writes.set()
        yield
        writer.writes.clear()
        time.sleep(1 / RATE)  # what it was at is over then
        seen.changes += writer.commits - before

    @contextmanager
    def swaps(self, seen: Seen) -> Iterator[None]:
        swapping = Swapping(self._follower)
        swapping.start()
        yield
        swapping.stopped.set()
        swapping.join()
        seen.changes += swapping.swaps

    def run(self, seconds: float, repeats: int) -> dict[str, Seen]:
        kinds: dict[str, Callable[[Seen], AbstractContextManager[None]]] = {
            "nothing": self.nothing,
            "commits": partial(self.commits, writer=self._writers[0]),
            "commits to another catalog": partial(self.commits, writer=self._writers[1]),
            "swaps of the snapshot": self.swaps,
        }
        seen = {name: Seen() for name in kinds}
        for repeat in range(-1, repeats):
            for name, changing in kinds.items():
                load, mine = Load(self._engine, self._served), seen[name] if repeat >= 0 else Seen()
                began = time.perf_counter()
                with changing(mine):
                    load.run(seconds if repeat >= 0 else 1.0)
                mine.seconds += time.perf_counter() - began
                mine.steps.append(load.steps)
                mine.found += load.found
        return seen


def rows_of(seen: Mapping[str, Seen], bad: Callable[[list[Found]], int]) -> list[list[object]]:
    def p99(steps: list[float]) -> float:
        return float(np.percentile(steps, 99))

    rows, calm = list[list[object]](), seen["nothing"].steps
    for name, one in seen.items():
        steps = [step for run in one.steps for step in run]
        ratios = [p99(run) / p99(beside) for run, beside in zip(one.steps, calm, strict=True)]
        whole = p99(steps) / p99([step for run in calm for step in run])
        rows.append([
            name, f"{one.changes / one.seconds:.1f}", f"{len(steps):,}",
            *(f"{value * 1e3:.2f}" for value in (*np.percentile(steps, [50, 99]), max(steps))),
            f"{whole:.3f}× ({min(ratios):.3f}–{max(ratios):.3f})", f"{len(one.found):,}",
            f"{sum(len(found.ranked) for found in one.found):,}",
            len({(found.snapshot, found.generation) for found in one.found}), bad(one.found),
        ])  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="tiny", choices=["tiny", "0.6b"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure_logging("warning")
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "catalog"
        codebook, homes = prepare(folder, arguments.kind, getattr(torch, arguments.dtype), arguments.items)
        about, snapshots = ModelAbout.load(folder / "model"), Snapshots(LocalStore(folder / "snapshots"))
        follower = AliasFollower(snapshots, path, about.fingerprints, "bench")
        served = follower.begin()
        settings = Settings(catalog=path, model=folder / "model", dtype=arguments.dtype, prefix_cache_mb=0)
        engine = EngineProcess(settings, served)
        shutil.copytree(path, folder / "other")
        writers = Writer(path, arguments.items), Writer(folder / "other", arguments.items)
        engine.wait()
        seen = Bench(follower, engine, served, writers).run(arguments.seconds, arguments.repeats)
        commits, _ = (writer.end() for writer in writers)
        engine.stop()
        served.close()
    note = (
        f"{arguments.items:,} items; {TEXTS} text streams, {SPANS} streams of spans and {LISTS} lists at a time;"
        f" {CHANGES} items a commit. In brackets: of single repeats."
    )
    header = ["what changes", "times a second", "steps", "p50, ms", "p99", "max", "p99 beside nothing",
              "spans and lists", "tuples", "states named", "invalid"]  # fmt: skip
    rows = rows_of(seen, lambda found: invalid(found, codebook, homes, commits))
    report(f"swaps-{arguments.kind}-{arguments.dtype}", header, rows, note)


if __name__ == "__main__":
    main()
