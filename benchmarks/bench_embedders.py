"""The two embedders that need no hub, side by side: fitted on the catalog (TF-IDF, SVD), and MiniLM from its package.

Only title and description are embedded. An item's neighbours are good where they share a label with it, a theme of the
demo catalog or `--label` of another one; a code of the first level is good where the items that it holds do.

    python -m benchmarks.bench_embedders [--items FILE.jsonl --label categories] [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import middle, report
from neo_runtime.catalog.item import Upsert
from neo_runtime.demo.taste import CATALOG
from neo_runtime.embed.base import Embedder, Vectors, item_text
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import load_embedder
from neo_runtime.ingest.bulk import read_upserts
from neo_runtime.sid.fit import fit_codebook

NEIGHBOURS, SAMPLE, CODES = 10, 2_000, 32
Alike = NDArray[np.bool_]


def labels(item: Upsert, name: str) -> frozenset[str]:
    """The finest value of a path, all values of any other list."""
    value = item.attributes.get(name, [])
    values = value if isinstance(value, list) else [str(value)]
    return frozenset(values[-1:] if name == "categories" else values)


def shares_label(sets: Sequence[frozenset[str]], rows: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    pairs = zip(rows.tolist(), others.tolist(), strict=True)
    return float(np.mean([bool(sets[a] & sets[b]) for row, near in pairs for a, b in ((row, n) for n in near)]))


def neighbours(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    likeness = vectors[rows] @ vectors.T
    likeness[np.arange(len(rows)), rows] = -2
    return np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def same_code(vectors: Vectors, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """For every row, items that have its first code."""
    codes = fit_codebook("t", "e", vectors, (CODES,)).encode(vectors)[0][:, 0]
    return np.stack([random.choice(np.flatnonzero(codes == codes[row]), NEIGHBOURS) for row in rows])


def seconds_each(embedder: Embedder, texts: Sequence[str], repeats: int) -> tuple[float, float]:
    """(one alone, one in a batch of all), median."""

    def timed(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    alone = [timed(lambda text=text: embedder.embed([text])) for text in texts[:50]]  # type: ignore[misc]
    batch = [timed(lambda: embedder.embed(texts[:500])) / len(texts[:500]) for _ in range(repeats)]
    return middle(alone), middle(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, action="append")
    parser.add_argument("--label", default="themes")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    items = read_upserts(arguments.items or sorted(CATALOG.glob("*.jsonl")))
    texts = [item_text(item.title, item.description) for item in items]
    sets = [labels(item, arguments.label) for item in items]
    random = np.random.default_rng(0)
    rows = random.permutation(len(items))[:SAMPLE]
    chance = shares_label(sets, rows, random.integers(len(items), size=(len(rows), NEIGHBOURS)))
    results: list[list[object]] = []
    for name, make in (("fitted", lambda: LexicalEmbedder.fit(texts)), ("MiniLM", lambda: load_embedder("minilm"))):
        start = time.perf_counter()
        embedder: Embedder = make()
        ready = time.perf_counter() - start
        vectors = embedder.embed(texts)
        alone, batch = seconds_each(embedder, texts, arguments.repeats)
        near = shares_label(sets, rows, neighbours(vectors, rows))
        coded = shares_label(sets, rows, same_code(vectors, rows, np.random.default_rng(1)))
        results.append(
            [name, embedder.dimension, f"{ready:.1f}", f"{alone * 1e3:.2f}", f"{batch * 1e3:.2f}", f"{near:.3f}",
             f"{coded:.3f}", f"{chance:.3f}"]
        )  # fmt: skip
    header = [
        "embedder", "dimension", "fit or load, s", "one item, ms", "one of 500, ms",
        f"{NEIGHBOURS} nearest share a label", "same first code share a label", "chance",
    ]  # fmt: skip
    what = "the demo catalog" if not arguments.items else "another catalog"
    report(
        "embedders" if not arguments.items else "embedders-other", header, results,
        f"{len(items):,} items of {what}, titles and descriptions only, label: {arguments.label}; {CODES} first codes.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
