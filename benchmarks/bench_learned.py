"""What it costs that items count which no training held (`neo_runtime/trie/learned.py`).

A level's scores replaced, which gives their normalisers too, beside the normalisers that a level needs without and the
step that it needs anyway; and ranked lists of the demo model with what it learned and without, beside each other, in
CPU time.

    python -m benchmarks.bench_learned [--items 1000000] [--users 200] [--repeats 9]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Table, alternate, middle, report_tables
from benchmarks.synthetic import BEAMS, LEVELS, catalog, segment, space_of
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.config import DEMO_MODEL, Settings
from neo_runtime.demo.taste import CATALOG, History, demo_users
from neo_runtime.engine.api import Constraints, EngineLimits, RankWork
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.ingest.bulk import load_files
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.trie import Restriction, TrieView, TypeView
from neo_runtime.trie.learned import LearnedTuples
from neo_runtime.trie.step import normalizers, step

KIND = "z256"
LIMITS = EngineLimits(512, 64, 256, 16)
_RUNS = 200


def levels(items: int, repeats: int) -> Table:
    """Microseconds of one request's level; nine of ten tuples were learned."""
    rng, space = np.random.default_rng(0), space_of(KIND)
    keys = catalog(KIND, items)
    learned = LearnedTuples(space, np.sort(rng.choice(keys, items * 9 // 10, replace=False)))
    view = TrieView(1, {"item": TypeView.of_base(segment(KIND, keys, {}))})
    trie = view.restrict(Restriction(["item"])).tries["item"]
    rows = []
    for depth in range(1, LEVELS):
        codes = space.unpack(rng.choice(keys, BEAMS))[:, :depth].astype(np.int32)
        nodes = trie.find(depth, space.pack(codes))
        logits = rng.standard_normal((BEAMS, space.level_sizes[depth]), dtype=np.float32)
        scores, norms = np.zeros(BEAMS, np.float32), normalizers(logits)
        variants: dict[str, Callable[[], object]] = {
            "replaced": partial(learned.rescored, codes, logits, None),
            "normalisers": partial(normalizers, logits),
            "step": partial(step, trie, depth, nodes, logits, scores, BEAMS, norms=norms),
        }
        seconds = alternate({name: partial(_often, run) for name, run in variants.items()}, repeats)
        rows.append([depth, *(f"{middle(seconds[name]) / _RUNS * 1e6:.0f}" for name in variants)])
    note = f"{items:,} items, {LEVELS} × 256 codes, {BEAMS} beams, µs, medians of {repeats} turns."
    return Table(note, ["codes before", "scores replaced", "normalisers", "step"], rows)


def _often(run: Callable[[], object]) -> None:
    for _ in range(_RUNS):
        run()


def lists(users: int, repeats: int, folder: Path) -> Table:
    """CPU milliseconds of a ranked list of 30."""
    model = NeoModel.load(DEMO_MODEL)
    with closing(open_or_create(Settings(catalog=folder / "catalog", model=DEMO_MODEL))) as made:
        load_files(made, [str(path) for path in sorted(CATALOG.glob("*.jsonl"))])
        works = [_work(history) for history in demo_users()[:users]]
        engines = {
            "with": _engine(model, made.reader),
            "without": _engine(replace(model, learned={}), made.reader),
        }
        runs = {name: partial(_answer, engine, works) for name, engine in engines.items()}
        seconds = alternate(runs, repeats, clock=time.process_time)
    ratios = sorted(with_ / without for with_, without in zip(seconds["with"], seconds["without"], strict=True))
    cells = [f"{middle(seconds[name]) / users * 1e3:.2f}" for name in engines]
    shown = f"{ratios[len(ratios) // 2]:.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f})"
    note = f"The demo model, {users} users, 32 at once, one thread, CPU ms a list, {repeats} turns."
    return Table(note, ["with learned tuples", "without", "ratio, median (least–most)"], [[*cells, shown]])


def _work(history: History) -> RankWork:
    item_type = history[-1].type
    return RankWork(TaskPrompt(Task.RECOMMEND, item_type), history[-9:-1], Constraints((item_type,)), BEAMS)


def _engine(model: NeoModel, reader: CatalogReader) -> LocalEngine:
    return LocalEngine(Decoder(model, reader, LIMITS, max_running=32), has_thread=False)


def _answer(engine: LocalEngine, works: list[RankWork]) -> None:
    for work in works:
        engine.submit(work, lambda _: None)
    while engine.running or engine.queued:
        engine.turn()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            "A level of a request": levels(arguments.items, arguments.repeats),
            "Ranked lists": lists(arguments.users, arguments.repeats, Path(folder)),
        }
    report_tables("learned", tables)


if __name__ == "__main__":
    main()
