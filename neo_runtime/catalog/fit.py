"""Codebooks for a catalog's items, with the embedder that belongs to them: stage 1 of NEO, on files of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.embed.base import Embedder, Vectors
from neo_runtime.embed.batches import Told, embed_all
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import EMBEDDER_FOLDER, load_embedder
from neo_runtime.errors import StartupError
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook

LEXICAL = "lexical"


class FitReport(NamedTuple):
    """How well a codebook tells the items that it was fitted on apart."""

    item_type: str
    items: int
    codebook: str
    colliding_items: int
    mean_squared_error: float


def fit_catalog(
    items: Sequence[Upsert], level_sizes: Sequence[int], embedder: str, folder: Path, *, seed: int = 0,
    level_sizes_of: Mapping[str, Sequence[int]] | None = None, told: Told = lambda *_: None,
) -> tuple[dict[str, Codebook], list[FitReport]]:  # fmt: skip
    """Write `folder`/codebooks, and `folder`/embedder where `embedder` is "lexical": that one is fitted on the items.
    `level_sizes_of`: of types that do not have `level_sizes`. `told` hears how many items are embedded.

    StartupError where there is no item, or a type has fewer items than codes.
    """
    if not items:
        raise StartupError("no items to fit codebooks on")
    texts = [event_text(item) for item in items]
    chosen: Embedder
    if embedder == LEXICAL:
        chosen = fitted = LexicalEmbedder.fit(texts, seed=seed)
        fitted.save(folder / EMBEDDER_FOLDER)
    else:
        chosen = load_embedder(embedder)
    vectors = embed_all(chosen, texts, told)
    books, reports = {}, []
    for item_type, rows in rows_by_type(items).items():
        book, report = fit_type(
            item_type, chosen.name, vectors[rows], (level_sizes_of or {}).get(item_type, level_sizes), seed
        )
        book.save(folder / "codebooks")
        books[item_type] = book
        reports.append(report)
    return books, reports


def rows_by_type(items: Sequence[Upsert]) -> Mapping[str, list[int]]:
    """Places of each type's items, types by name."""
    rows: dict[str, list[int]] = {}
    for row, item in enumerate(items):
        rows.setdefault(item.key.type, []).append(row)
    return dict(sorted(rows.items()))


def fit_type(
    item_type: str, embedder: str, vectors: Vectors, level_sizes: Sequence[int], seed: int
) -> tuple[Codebook, FitReport]:
    """One type's codebook. StartupError where it has fewer items than codes."""
    try:
        book = fit_codebook(item_type, embedder, vectors, level_sizes, seed=seed)
    except ValueError as error:
        raise StartupError(str(error)) from error
    return book, fit_report(book, vectors)


def fit_report(book: Codebook, vectors: Vectors) -> FitReport:
    """Of the vectors that it was fitted on."""
    codes, errors = book.encode(vectors)
    _, counts = np.unique(book.space.pack(codes), return_counts=True)
    colliding = int(counts[counts > 1].sum())
    return FitReport(book.item_type, len(vectors), book.fingerprint, colliding, float(errors.mean()))
