"""How many items keep their SID when codebooks are fitted again on a catalog that has grown.

python -m benchmarks.bench_sid_refresh DATA_FOLDER      # writes benchmarks/results/sid-refresh.md
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import report
from neo_runtime.data.dataset import read_dataset
from neo_runtime.data.split import Fit, Order
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.mixed import fit_ridge, joined
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.refresh import kept, matched
from neo_runtime.training.collaborative import collaborative_vectors
from neo_runtime.training.samples.histories import splits_of

OLD_SHARE = 0.9
_NOTE = (
    f"Old: fitted on {OLD_SHARE:.0%} of the items, drawn at random; new: on all. Shares are of the old items. Text and "
    "users: the users' half comes from the training part before, from training and validation after."
)
SIZES = ((256, 256), (1024, 64))


def rows_of(item_type: str, old: np.ndarray, new: np.ndarray, sizes: tuple[int, ...], what: str) -> list[list[object]]:
    """old, new: vectors of the same known items before, and of all items after, known ones first."""
    known = len(old)
    before = fit_codebook(item_type, "old", old, sizes)
    codes = before.encode(old)[0]
    started = time.perf_counter()
    anew = fit_codebook(item_type, "new", new, sizes, seed=1)
    fitted_s = time.perf_counter() - started
    started = time.perf_counter()
    renamed = matched(codes, anew.encode(new[:known])[0], anew)
    matched_s = time.perf_counter() - started
    books: dict[str, Codebook] = {"fitted anew": anew, "fitted anew, renamed": renamed}
    if old.shape == new[:known].shape:
        moved = fit_codebook(item_type, "new", new, sizes, start=before)
        books["from the old centroids"] = moved
        books["from the old centroids, renamed"] = matched(codes, moved.encode(new[:known])[0], moved)
    rows: list[list[object]] = []
    for name, book in books.items():
        found, errors = book.encode(new)
        share = kept(codes, found[:known])
        rows.append(
            [item_type, what, "×".join(map(str, sizes)), name, f"{share.first_code:.1%}", f"{share.tuple:.1%}",
             f"{errors.mean():.4f}"]
        )  # fmt: skip
    print(*rows, f"fit {fitted_s:.1f} s, renaming {matched_s:.2f} s", sep="\n", flush=True)
    return rows


def main() -> None:
    dataset = read_dataset(Path(sys.argv[1]))
    rows: list[list[object]] = []
    for item_type, split in splits_of(dataset, Order.SHUFFLED).items():
        texts = dataset.texts(item_type)
        order = np.random.default_rng(0).permutation(len(texts))
        known = order[: round(OLD_SHARE * len(texts))]
        content = LexicalEmbedder.fit(texts).embed(texts)
        halves = []
        for fit in (Fit.T, Fit.TV):
            taste = collaborative_vectors(split.training(fit), split.item_count)
            ridge = fit_ridge(content, taste.vectors, taste.known)
            centred = ridge.centred(content)
            half = np.where(taste.known[:, None], taste.vectors, ridge.predict(centred))
            halves.append(joined(centred, half, 1.0))
        for sizes in SIZES:
            if max(sizes) * 2 < len(known):
                rows += rows_of(item_type, content[known], content[order], sizes, "text")
                rows += rows_of(item_type, halves[0][known], halves[1][order], sizes, "text and users")
    header = ["type", "vectors", "levels", "codebook", "same first code", "same SID", "error²"]
    report("sid-refresh", header, rows, _NOTE)


if __name__ == "__main__":
    main()
