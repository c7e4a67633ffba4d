"""Loading a catalog from files at once: items a second by phase, peak memory, bytes on disk.

Items with attributes and clustered embeddings are generated, written as one JSON-lines file and a .npy file, and
loaded by a process of its own, as `neo catalog load` does it. Codes are fitted on a sample.

What quantization costs is seen twice: alone, on one thread, and by loading the same again with the codes that were
found looked up (not where the embeddings stand in the lines). The second load is all but quantization.

    python -m benchmarks.bench_bulk [--items 1000000] [--dimension 64] [--codes 256] [--levels 4] [--inline]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.known_codes import Known, quantize
from benchmarks.measure import report
from neo_runtime.catalog.bulk_lines import Phases
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.inspect import inspect
from neo_runtime.ingest.bulk import load_files
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.sid.fit import fit_codebook

CLUSTERS, SPREAD, SAMPLE, BLOCK = 50_000, 0.5, 50_000, 100_000
WORDS = ["river", "night", "garden", "engine", "letter", "winter", "shadow", "market", "signal", "harbour", "mirror"]


def vectors(rng: np.random.Generator, centers: np.ndarray, count: int) -> np.ndarray:
    chosen = centers[rng.integers(len(centers), size=count)]
    return (chosen + SPREAD * rng.normal(size=chosen.shape)).astype(np.float32)


def generate(folder: Path, items: int, dimension: int, *, inline: bool) -> None:
    """Ids in random order, as they come from a shop's database by time."""
    rng, words = np.random.default_rng(1), random.Random(1)
    centers = np.random.default_rng(0).normal(size=(CLUSTERS, dimension))
    order = rng.permutation(items)
    rows = np.lib.format.open_memmap(folder / "items.npy", "w+", np.float32, (items, dimension))
    with (folder / "items.jsonl").open("w") as file:
        for start in range(0, items, BLOCK):
            numbers = order[start : start + BLOCK].tolist()
            rows[start : start + BLOCK] = block = vectors(rng, centers, len(numbers))
            for number, vector in zip(numbers, block, strict=True):
                line = {
                    "type": "item", "id": f"item-{number:08}", "title": " ".join(words.choices(WORDS, k=4)),
                    "description": " ".join(words.choices(WORDS, k=12)), "popularity": round(words.random(), 4),
                    "attributes": {
                        "year": 1950 + number % 75, "maker": f"maker {number % 5_000}", "genres": words.sample(WORDS, 2)
                    },
                    "event_time": "2026-01-01T00:00:00Z",
                }  # fmt: skip
                if inline:
                    line["embedding"] = base64.b64encode(vector.tobytes()).decode()
                file.write(json.dumps(line) + "\n")
    rows.flush()


def fit(folder: Path, dimension: int, sizes: tuple[int, ...]) -> None:
    centers = np.random.default_rng(0).normal(size=(CLUSTERS, dimension))
    fit_codebook("item", "random", vectors(np.random.default_rng(2), centers, SAMPLE), sizes).save(folder / "codebooks")


class Timed(Phases):
    """Also by what the process and those that parse for it had of the cores: others work on them too."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: dict[str, float] = {}
        self.parsers_kb = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = cpu_seconds()
        with super().timed(name):
            yield
        self.cpu[name] = self.cpu.get(name, 0.0) + cpu_seconds() - began

    def advance(self, name: str, done: int, total: int) -> None:
        super().advance(name, done, total)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        self.parsers_kb = max(self.parsers_kb, sum(map(peak_kb, children)))


def cpu_seconds() -> float:
    """Of children too, once they have ended."""
    return sum(os.times()[:4])


def peak_kb(process: str = "self") -> int:
    """Of one process alone: ru_maxrss begins with what its parent had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def load(folder: Path, *, inline: bool, known: bool) -> dict[str, object]:
    """In this process, whose peak memory counts."""
    before, phases = peak_kb(), Timed()
    codebooks = load_codebooks(folder / "codebooks")
    if known:
        codebooks = {name: Known(name, book.embedder, book.centroids, folder) for name, book in codebooks.items()}
    started = time.perf_counter()
    with closing(Catalog.create(folder / "catalog", codebooks)) as catalog:
        given = None if inline else folder / "items.npy"
        totals = load_files(catalog, [str(folder / "items.jsonl")], phases, embeddings=given)
    wall = time.perf_counter() - started
    peak = peak_kb()
    return {
        "totals": totals,
        "seconds": phases.seconds,
        "cpu": phases.cpu,
        "wall": wall,
        "load": os.getloadavg()[1],
        "peak_mb": peak // 1024,
        "start_mb": before // 1024,
        "parsers_mb": phases.parsers_kb // 1024,
    }


def aside(*flags: str, environment: Mapping[str, str] = {}) -> Any:
    """What this module says with these flags, in a process of its own."""
    arguments = [sys.executable, "-m", "benchmarks.bench_bulk", *flags]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, env=os.environ | environment)
    return json.loads(done.stdout)


def phases_of(about: str, items: int, found: dict[str, Any], title: str) -> list[list[object]]:
    seconds, cpu = found["seconds"], found["cpu"]
    phases = {f"{name}": (seconds[name], cpu[name]) for name in seconds}
    phases[f"**{title}**; load average {found['load']:.1f}"] = (sum(seconds.values()), sum(cpu.values()))
    return [
        [about, phase, f"{wall:.1f}", f"{items / wall:,.0f}", f"{own:.1f}", f"{items / own:,.0f}"]
        for phase, (wall, own) in phases.items()
    ]


def all_but_quantization(folder: Path, about: str, items: int) -> list[list[object]]:
    own = float(aside("--quantize", str(folder), environment={"OPENBLAS_NUM_THREADS": "1"}))
    shutil.rmtree(folder / "catalog")
    found = aside("--load", str(folder), "--known")
    return [
        [about, "quantization alone, one thread", "", "", f"{own:.1f}", f"{items / own:,.0f}"],
        *phases_of(f"{about}, codes looked up", items, found, "all but quantization"),
    ]


def rows_of(folder: Path, items: int, *, inline: bool) -> list[list[object]]:
    about = f"{items:,}, embeddings in {'lines' if inline else '.npy'}"
    found = aside("--load", str(folder), *(["--inline"] if inline else []))
    rows = phases_of(about, items, found, "all, quantization included")
    rows.append([about, "peak memory", f"{found['peak_mb']:,} MB ({found['start_mb']} before)", "", "", ""])
    rows.append([about, "peak memory of parsing processes", f"{found['parsers_mb']:,} MB, all of them", "", "", ""])
    info = inspect(folder / "catalog")
    sizes = {table.table: table.bytes for table in info.tables if table.entries} | info.segments
    rows += [
        [about, f"on disk: {name}", f"{size / 1e6:,.1f} MB", f"{size / items:.0f} B an item", "", ""]
        for name, size in sizes.items()
    ]
    reader, _ = open_reader(folder / "catalog")
    records = reader.state().stats["item"]
    moved = records.items - len(np.unique(paths_of(reader)))
    rows.append([about, "items that found their path taken", f"{moved:,}", f"{moved / items:.1%}", "", ""])
    reader.store.close()
    return rows if inline else rows + all_but_quantization(folder, about, items)


class Place(msgspec.Struct, array_like=True):
    """The beginning of an item's record."""

    title: msgspec.Raw
    description: msgspec.Raw
    attributes: msgspec.Raw
    popularity: msgspec.Raw
    event_time_us: msgspec.Raw
    deleted: bool
    sid_key: int
    path_key: int


def paths_of(reader) -> np.ndarray:  # type: ignore[no-untyped-def]
    decode = msgspec.msgpack.Decoder(Place).decode
    with reader.store.read() as txn:
        return np.fromiter((decode(value).path_key for _, value in txn._scan("items")), np.uint64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--inline", action="store_true", help="embeddings inside the lines")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quantize", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--known", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load or args.quantize:
        found = quantize(args.quantize) if args.quantize else load(args.load, inline=args.inline, known=args.known)
        print(json.dumps(found))
        return
    rows: list[list[object]] = []
    for items in args.items:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            fit(folder, args.dimension, (args.codes,) * args.levels)
            generate(folder, items, args.dimension, inline=args.inline)
            print("generated", flush=True)
            rows += rows_of(folder, items, inline=args.inline)
    note = (
        f"{args.levels} levels of {args.codes} codes, {args.dimension} dimensions, nearest-free; "
        "three attributes an item."
    )
    report("bulk", ["items", "phase", "seconds", "items a second", "CPU s", "items a CPU s"], rows, note)


if __name__ == "__main__":
    main()
