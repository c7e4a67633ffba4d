"""Snapshots at size: taking one, opening and swapping to one, and what decoding notices of it.

Beside taking one: the same bytes written raw with fsync, and `cp` with fsync, in turns on the same disk. Decoding is
30 beams from one thread on what a worker serves, in turns without swaps and while its follower opens and swaps in
another thread, as in a worker: whole passes of a small random model on one thread of torch, and the trie's part alone.

    python -m benchmarks.bench_snapshots [--items 200000] [--catalog FOLDER] [--seconds 20] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_bulk import fit, generate
from benchmarks.measure import alternate, middle, report
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.engine.api import EngineLimits, RankWork
from neo_runtime.engine.passes import Feed
from neo_runtime.engine.request import Decoder
from neo_runtime.ingest.bulk import load_files
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.snapshot.aliases import Target, serve
from neo_runtime.snapshot.create import create_snapshot
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.restore import on_this_machine
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore
from neo_runtime.trie import Nodes, TrieView
from neo_runtime.trie.step import step, warm_up
from neo_runtime.types import ItemKey, Position

DIMENSION, CODES, LEVELS, BEAMS = 16, 1_024, 4, 30
CHANGED = 0.005  # a log of half of what the catalog would compact
LATER = 2_000_000_000_000_000  # event times after those of all items that are generated
BETWEEN_SWAPS_S, ROUNDS = 0.5, 6


def upserts(numbers: range, vectors: np.ndarray, version: int) -> list[Upsert]:  # type: ignore[type-arg]
    source = RawRecord(Position("bench", 0, 0), None, None)
    return [
        Upsert(
            ItemKey("item", f"item-{number:08}"), version, f"Title of item {number}", "A description. " * 4,
            {"year": 1950 + number % 70, "genres": ["a", "b"]}, 0.5, vector, "random", source,
        )
        for number, vector in zip(numbers, vectors, strict=True)
    ]  # fmt: skip


def build(folder: Path, items: int) -> None:
    """Items with clustered vectors, and a log on top of their base."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        source = Path(name)
        fit(source, DIMENSION, (CODES,) * LEVELS)
        generate(source, items, DIMENSION, inline=False)
        with closing(Catalog.create(folder, load_codebooks(source / "codebooks"))) as catalog:
            load_files(catalog, [str(source / "items.jsonl")], embeddings=source / "items.npy")
            change(catalog, items, LATER)


def change(catalog: Catalog, items: int, version: int) -> None:
    """A part of the items move."""
    some = range(max(1, int(items * CHANGED)))
    rng = np.random.default_rng(version)
    catalog.apply(upserts(some, rng.normal(size=(len(some), DIMENSION)).astype(np.float32), version))


def write_raw(path: Path, size: int) -> None:
    block = os.urandom(8 << 20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def copy_raw(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("snapshots", "lock.mdb", "*.lock"))
    for path in target.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(target)


def creation(catalog: Path, root: Path, repeats: int) -> list[list[object]]:
    """Seconds and MB/s of each way."""
    snapshots = Snapshots(LocalStore(root))
    manifest = create_snapshot(catalog, snapshots.store, name="first")
    size = manifest.size_bytes

    def take() -> None:
        name = create_snapshot(catalog, snapshots.store).name
        snapshots.store.remove(name)

    ways: dict[str, Callable[[], object]] = {
        "neo snapshot create": take,
        "cp and fsync": lambda: copy_raw(catalog, root / "copy"),
        "raw write and fsync": lambda: write_raw(root / "raw", size),
    }
    rows: list[list[object]] = []
    for name, seconds in alternate(ways, repeats).items():
        rows.append(
            [name, f"{middle(seconds):.2f} s", f"{size / 1e6 / middle(seconds):,.0f} MB/s of {size / 1e6:,.0f} MB"]
        )
    return rows


def decode(view: TrieView, logits: np.ndarray) -> list[float]:  # type: ignore[type-arg]
    """Seconds of every step of one constrained beam search."""
    trie = view.restrict().tries["item"]
    nodes, scores, seconds = trie.root(), np.zeros(1, np.float32), []
    for depth in range(trie.space.levels):
        started = time.perf_counter()
        found = step(trie, depth, nodes, logits[depth, : len(scores), : trie.space.level_sizes[depth]], scores, BEAMS)
        count = int(found.counts[0])
        nodes, scores = Nodes(found.nodes.base[:count], found.nodes.delta[:count]), found.scores[0, :count]
        seconds.append(time.perf_counter() - started)
    return seconds


class Swapping(threading.Thread):
    """A worker's follower, told to go to one target after the other; remembers when it opened and swapped."""

    def __init__(self, follower: AliasFollower, snapshots: Snapshots, targets: Iterator[Target]) -> None:
        super().__init__(daemon=True)
        self._follower, self._snapshots, self._targets = follower, snapshots, targets
        self.stopped, self.spans = threading.Event(), list[tuple[float, float]]()

    def run(self) -> None:
        while not self.stopped.wait(BETWEEN_SWAPS_S):
            self._snapshots.aliases.move(serve(next(self._targets)))
            started = time.perf_counter()
            self._follower.look()
            self.spans.append((started, time.perf_counter()))
            assert not self._follower.failure, self._follower.failure


def decoding(served: ServedCatalog, seconds: float) -> list[tuple[float, float]]:
    """When each step began, and its seconds; for as long as `seconds`."""
    logits = np.random.default_rng(1).normal(size=(LEVELS, BEAMS, CODES)).astype(np.float32)
    steps: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        with served.hold():
            steps += [(now, spent) for spent in decode(served.pin(()).view, logits)]
        time.sleep(0.001)  # a model would run here, outside of Python's lock
    return steps


def passes(served: ServedCatalog, model: NeoModel, seconds: float) -> list[tuple[float, float]]:
    """The same for every pass of ranked requests, model included."""
    decoder = Decoder(model, served, EngineLimits(1_024, 512, 256, 64))
    work = RankWork(Conversation((Turn("user", ("a b c d",)),)), max_results=BEAMS)
    found: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        with served.hold():
            steps = decoder.decode(work, time.monotonic())
            wanted = next(steps)
            while isinstance(wanted, Feed):
                started = time.perf_counter()
                wanted = steps.send(decoder.backbone.run([wanted])[0])
                found.append((started, time.perf_counter() - started))
            steps.close()
    return found


def random_model(catalog: Path) -> NeoModel:
    torch.set_num_threads(1)
    tokenizer = fresh_tokenizer(["a b c d e f g h"], 300)
    shape = DecoderShape(width=256, layers=4, heads=8, key_value_heads=4, feed_forward=768, context_tokens=1_024)
    lm = fresh_decoder(shape, len(tokenizer), end_token=tokenizer.eos_token_id).eval()
    return NeoModel.extend("random", lm, tokenizer, load_codebooks(catalog / "codebooks"))


def percentiles(seconds: list[float]) -> str:
    p50, p99, most = np.percentile(np.array(seconds) * 1e3, [50, 99, 100])
    return f"p50 {p50:.3f}, p99 {p99:.3f}, most {most:.3f} ms of {len(seconds):,}"


def swaps(catalog: Path, root: Path, seconds: float) -> list[list[object]]:
    snapshots = Snapshots(LocalStore(root))
    targets = cycle([snapshots.named(name).target for name in ("second", "first")])
    follower = AliasFollower(snapshots, catalog, snapshots.named("first").manifest.codebooks, "bench")
    served = follower.begin()
    warm_up()
    model = random_model(catalog)
    rows: list[list[object]] = []
    kinds: dict[str, Callable[[float], list[tuple[float, float]]]] = {
        "pass of decoding": lambda s: passes(served, model, s),
        "the trie's part of a step": lambda s: decoding(served, s),
    }
    for what, run in kinds.items():
        run(1.0)
        alone, every, during, took = list[float](), list[float](), list[float](), list[float]()
        for _ in range(ROUNDS):
            alone += [spent for _, spent in run(seconds / ROUNDS)]
            swapping = Swapping(follower, snapshots, targets)
            swapping.start()
            steps = run(seconds / ROUNDS)
            swapping.stopped.set()
            swapping.join()
            every += [spent for _, spent in steps]
            starts, ends = np.array(swapping.spans).T
            during += [spent for at, spent in steps if np.any((at < ends) & (at + spent > starts))]
            took += [end - start for start, end in swapping.spans]
        rows += [
            [f"{what}, no swaps", percentiles(alone), ""],
            [f"{what}, {len(took)} swaps meanwhile", percentiles(every), ratio(every, alone)],
            [f"{what}, while a snapshot is checked and opened", percentiles(during), ratio(during, alone)],
            ["checking, opening and swapping beside it", f"{middle(took) * 1e3:.1f} ms", ""],
        ]
    served.close()
    return rows


def ratio(seconds: list[float], alone: list[float]) -> str:
    return f"p99 {np.percentile(seconds, 99) / np.percentile(alone, 99):.2f} times"


def opening(catalog: Path, root: Path, repeats: int) -> list[list[object]]:
    """Opening alone, and the check of the trie's files before it."""
    snapshots = Snapshots(LocalStore(root))
    names, place = ("first", "second"), iter(range(1_000_000))
    folders = [root / name for name in names]

    def check() -> None:
        on_this_machine(snapshots.store, snapshots.named(names[next(place) % 2]), catalog)

    def open_one() -> None:
        reader, _ = open_reader(folders[next(place) % 2], frozen=True)
        with closing(reader.store):
            for trie in reader.view().restrict().tries.values():
                trie.children(0, trie.root())

    taken = alternate({"check of the trie's files": check, "open": open_one}, repeats)
    return [[name, f"{middle(seconds) * 1e3:.1f} ms", ""] for name, seconds in taken.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--catalog", type=Path, help="an existing catalog of item type `item`, instead of a new one")
    parser.add_argument("--folder", type=Path, help="where the snapshots go; none: beside the catalog, temporary")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root, catalog = Path(name) / "snapshots", arguments.catalog or Path(name) / "catalog"
        if arguments.catalog is None:
            build(catalog, arguments.items)
        rows = creation(catalog, root, arguments.repeats)
        if arguments.catalog is None:
            with closing(Catalog.open(catalog)) as opened:
                change(opened, arguments.items, LATER + 1)
        manifest = create_snapshot(catalog, LocalStore(root), name="second")
        rows += opening(catalog, root, arguments.repeats)
        rows += swaps(catalog, root, arguments.seconds)
        items = sum(counts.items for counts in manifest.counts.values())
    note = f"{items:,} items of one type, {LEVELS} × {CODES} codes, {BEAMS} beams; snapshots on the catalog's own disk."
    report("snapshots", ["what", "median", "beside"], rows, note)


if __name__ == "__main__":
    main()
