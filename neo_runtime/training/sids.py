"""Stage 1: codebooks, the embedder that belongs to them, and the exact vectors of known items (NEO §stage 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.fit import LEXICAL, FitReport, fit_report, rows_by_type
from neo_runtime.catalog.item import Upsert
from neo_runtime.config import Settings
from neo_runtime.data.dataset import Dataset, data_files
from neo_runtime.data.split import Fit, Order, Split
from neo_runtime.embed.base import Embedder, Vectors, unit_rows
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import EMBEDDER_FOLDER, load_embedder
from neo_runtime.embed.mixed import MixedEmbedder, Ridge, fit_ridge, joined
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import load_files
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.training.codebooks import exchanged, fit_codebooks
from neo_runtime.training.collaborative import Collaborative, collaborative_vectors
from neo_runtime.training.recipe import SidsRecipe
from neo_runtime.training.samples.histories import splits_of
from neo_runtime.types import ItemKey

EMBEDDINGS_FILE = "embeddings.npy"
"""Row i for line i of the data folder's item files: what `neo catalog load --embeddings` takes."""


def fit_sids(
    dataset: Dataset, recipe: SidsRecipe, folder: Path, *, order: Order, fit: Fit, at_hand: Embedder | None = None
) -> list[FitReport]:
    """Write codebooks, embedder and embeddings to `folder`. StartupError where a type has fewer items than codes.

    Of interactions only the training part is looked at. `at_hand`: the recipe's embedder, where it is loaded already.
    """
    items = [item for of_type in dataset.items.values() for item in of_type]
    texts = [event_text(item) for item in items]
    base: Embedder
    if recipe.embedder == LEXICAL:
        base = lexical = LexicalEmbedder.fit(texts, seed=recipe.seed)
        if not recipe.collaborative:
            lexical.save(folder / EMBEDDER_FOLDER)
    else:
        base = at_hand or load_embedder(recipe.embedder)
    vectors, name = base.embed(texts), base.name
    rows = rows_by_type(items)
    if recipe.collaborative:
        spec = "" if recipe.embedder == LEXICAL else recipe.embedder
        parts = {key: vectors[places] for key, places in rows.items()}
        mixed, halves = _mixed(base, spec, parts, splits_of(dataset, order), fit, recipe)
        mixed.save(folder / EMBEDDER_FOLDER)
        vectors, name = np.empty((len(items), mixed.dimension), np.float32), mixed.name
        for key, places in rows.items():
            vectors[places] = halves[key]
    reports = []
    for book in fit_codebooks({key: vectors[places] for key, places in rows.items()}, name, recipe):
        book.save(folder / "codebooks")
        places = rows[book.item_type]
        reports.append(fit_report(book, vectors[places]))
        if recipe.method == "shuffled":
            vectors[places] = exchanged(vectors[places], recipe.seed)
    by_line = np.empty_like(vectors)
    by_line[[item.source.position.offset for item in items]] = vectors
    np.save(folder / EMBEDDINGS_FILE, by_line)
    return reports


def _mixed(
    base: Embedder, spec: str, texts: Mapping[str, Vectors], splits: Mapping[str, Split], fit: Fit, recipe: SidsRecipe
) -> tuple[MixedEmbedder, dict[str, Vectors]]:
    """The embedder for new items, and by type the vectors of the known ones: measured where users know an item."""
    measured = {
        name: collaborative_vectors(
            split.training(fit), split.item_count, dimension=recipe.collaborative_dimension,
            window=recipe.collaborative_window, seed=recipe.seed,
        )
        for name, split in splits.items()
    }  # fmt: skip
    measured = {name: found for name, found in measured.items() if found.known.any()}
    if not measured:
        raise StartupError("no two items of a type meet in a history; leave the collaborative half out")
    ridges, vectors = dict[str, Ridge](), dict[str, Vectors]()
    for name, found in texts.items():
        taste = measured.get(name, _unknown(found, recipe.collaborative_dimension))
        ridges[name] = fit_ridge(found, taste.vectors, taste.known) if taste.known.any() else _no_taste(found, taste)
        centred = ridges[name].centred(found)
        half = np.where(taste.known[:, None], taste.vectors, ridges[name].predict(centred))
        vectors[name] = joined(centred, half, recipe.collaborative)
    return MixedEmbedder(base, spec, ridges, recipe.collaborative), vectors


def _unknown(texts: Vectors, dimension: int) -> Collaborative:
    """Of a type that nobody's history holds."""
    return Collaborative(unit_rows(np.zeros((len(texts), dimension), np.float32)), np.zeros(len(texts), bool))


def _no_taste(texts: Vectors, taste: Collaborative) -> Ridge:
    """The same half for all items of a type, so that text alone divides them."""
    width = taste.vectors.shape[1]
    zeros = np.zeros((texts.shape[1], width), np.float32)
    return Ridge(np.asarray(texts.mean(0), np.float32), zeros, np.zeros(width, np.float32))


class Assigned(NamedTuple):
    """Packed SIDs of items, by key, as a catalog assigns them."""

    sids: Mapping[ItemKey, int]
    refused: int


def assigned_sids(data: Path, folder: Path, keys: Sequence[ItemKey]) -> Assigned:
    """What a catalog gives the items that is loaded from `data` with the codebooks and vectors in `folder`.

    Loaded here into one that is thrown away: the same files always lead to the same SIDs.
    """
    with catalog_of(data, folder) as catalog:
        sids = dict(catalog.reader.pin(list(keys)).sids)
    return Assigned(sids, len(keys) - len(sids))


@contextmanager
def catalog_of(data: Path, folder: Path) -> Iterator[Catalog]:
    """One that is thrown away, loaded from `data` with the codebooks, the embedder and the vectors in `folder`."""
    embeddings = folder / EMBEDDINGS_FILE
    with (
        TemporaryDirectory() as scratch,
        closing(open_or_create(Settings(catalog=Path(scratch) / "catalog", model=folder))) as catalog,
    ):
        files = [str(path) for path in data_files(data, "items")]
        load_files(catalog, files, embeddings=embeddings if embeddings.exists() else None)
        yield catalog


def items_by_key(dataset: Dataset) -> dict[ItemKey, Upsert]:
    return {item.key: item for items in dataset.items.values() for item in items}
