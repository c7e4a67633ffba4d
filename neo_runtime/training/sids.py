"""Stage 1: codebooks, the embedder that belongs to them, and the exact vectors of known items (NEO §stage 1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.catalog import check_fingerprints, open_reader
from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.fit import LEXICAL, FitReport, fit_report, rows_by_type
from neo_runtime.catalog.item import Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.config import Settings
from neo_runtime.data.dataset import Dataset, data_files
from neo_runtime.data.split import Fit, Order, Split
from neo_runtime.embed.base import Embedder, Vectors, of_type, unit_rows
from neo_runtime.embed.batches import Told, embed_all
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import EMBEDDER_FOLDER, load_embedder
from neo_runtime.embed.mixed import MixedEmbedder, Ridge, fit_ridge, joined
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import load_files, read_lines
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.sid.codebook import Codebook, fingerprints, load_codebooks
from neo_runtime.training.codebooks import exchanged, fit_codebooks
from neo_runtime.training.collaborative import Collaborative, collaborative_vectors
from neo_runtime.training.fitted_on import FittedOn, left_out
from neo_runtime.training.recipe import SidsRecipe
from neo_runtime.training.samples.histories import splits_of
from neo_runtime.types import ItemKey

EMBEDDINGS_FILE = "embeddings.npy"
"""Row i for line i of the data folder's item files: what `neo catalog load --embeddings` takes."""


def fit_sids(
    dataset: Dataset,
    recipe: SidsRecipe,
    folder: Path,
    *,
    order: Order,
    fit: Fit,
    at_hand: Embedder | None = None,
    told: Told = lambda *_: None,
) -> list[FitReport]:
    """Write codebooks, embedder and embeddings to `folder`. StartupError where a type has fewer items than codes.

    Of interactions only the training part is looked at, and of new items nothing: they get their vectors afterwards,
    from the embedder, as any item that is published later. `at_hand`: the recipe's embedder, where it is loaded. `told`
    hears how many items are embedded.
    """
    items = list(items_by_key(dataset).values())
    texts = [event_text(item) for item in items]
    base: Embedder
    embedder: Embedder
    if recipe.embedder == LEXICAL:
        base = lexical = LexicalEmbedder.fit(texts, seed=recipe.seed)
        if not recipe.collaborative:
            lexical.save(folder / EMBEDDER_FOLDER)
    else:
        base = at_hand or load_embedder(recipe.embedder)
    vectors, embedder = embed_all(base, texts, told), base
    rows = rows_by_type(items)
    if recipe.collaborative:
        spec = "" if recipe.embedder == LEXICAL else recipe.embedder
        parts = {key: vectors[places] for key, places in rows.items()}
        embedder, halves = _mixed(base, spec, parts, splits_of(dataset, order), fit, recipe)
        embedder.save(folder / EMBEDDER_FOLDER)
        vectors = np.empty((len(items), embedder.dimension), np.float32)
        for key, places in rows.items():
            vectors[places] = halves[key]
    reports = []
    for book in fit_codebooks({key: vectors[places] for key, places in rows.items()}, embedder.name, recipe):
        book.save(folder / "codebooks")
        places = rows[book.item_type]
        reports.append(fit_report(book, vectors[places]))
        if recipe.method == "shuffled":
            vectors[places] = exchanged(vectors[places], recipe.seed)
    FittedOn(sids=recipe, order=order, fit=fit, new_items=left_out(dataset)).save(folder)
    _save_vectors(dataset, folder / EMBEDDINGS_FILE, items, vectors, embedder)
    return reports


def _save_vectors(
    dataset: Dataset, file: Path, known: Sequence[Upsert], vectors: Vectors, embedder: Embedder
) -> None:  # fmt: skip
    by_line = np.empty((sum(map(len, dataset.items.values())), vectors.shape[1]), np.float32)
    by_line[_lines(known)] = vectors
    for name in dataset.new_items:
        if new := dataset.later_items(name):
            by_line[_lines(new)] = of_type(embedder, name).embed([event_text(item) for item in new])
    np.save(file, by_line)


def _lines(items: Sequence[Upsert]) -> list[int]:
    return [item.source.position.offset for item in items]


def _mixed(
    base: Embedder, spec: str, texts: Mapping[str, Vectors], splits: Mapping[str, Split], fit: Fit, recipe: SidsRecipe
) -> tuple[MixedEmbedder, dict[str, Vectors]]:
    """The embedder for new items, and by type the vectors of the known ones: measured where users know an item."""
    measured = {name: _measured(split, fit, recipe) for name, split in splits.items()}
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


def _measured(split: Split, fit: Fit, recipe: SidsRecipe) -> Collaborative:
    """Of the items that are not new."""
    found = collaborative_vectors(
        split.training(fit), split.item_count, dimension=recipe.collaborative_dimension,
        window=recipe.collaborative_window, seed=recipe.seed,
    )  # fmt: skip
    return Collaborative(found.vectors[~split.new_items], found.known[~split.new_items])


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


class Served(NamedTuple):
    """A catalog to read."""

    reader: CatalogReader
    codebooks: Mapping[str, Codebook]


def assigned_sids(
    data: Path,
    folder: Path,
    keys: Sequence[ItemKey],
    new_lines: Collection[int] = frozenset(),
    *,
    live: Path | None = None,
) -> Assigned:
    """What `catalog_of` gives the items."""
    with catalog_of(data, folder, new_lines, live=live) as catalog:
        sids = dict(catalog.reader.pin(list(keys)).sids)
    return Assigned(sids, len(keys) - len(sids))


@contextmanager
def catalog_of(
    data: Path, folder: Path, new_lines: Collection[int] = frozenset(), *, live: Path | None = None
) -> Iterator[Served]:
    """`live`, a catalog that is kept elsewhere; else one that is thrown away, loaded from `data` with the codebooks,
    the embedder and the vectors in `folder`: the same files always lead to the same SIDs.

    Where items quantize alike the first that comes has the nearest tuple, so a catalog that took the same items in
    another order differs: what is to be served over a live one is trained with that one's SIDs. Items on `new_lines`
    are published when the others are there: they take the places that are free then, and the others keep the SIDs that
    they have without them. MismatchError where `live` has other codebooks than `folder`.
    """
    if live:
        reader, codebooks = open_reader(live)
        with closing(reader.store):
            check_fingerprints(fingerprints(load_codebooks(folder / "codebooks")), fingerprints(codebooks))
            yield Served(reader, codebooks)
        return
    embeddings = folder / EMBEDDINGS_FILE
    with (
        TemporaryDirectory() as scratch,
        closing(open_or_create(Settings(catalog=Path(scratch) / "catalog", model=folder))) as catalog,
    ):
        files = [str(path) for path in data_files(data, "items")]
        given = embeddings if embeddings.exists() else None
        for part in _in_turn(files, given, new_lines, Path(scratch)) if new_lines else [_Loaded(files, given)]:
            load_files(catalog, part.files, embeddings=part.embeddings)
        yield Served(catalog.reader, catalog.codebooks)


class _Loaded(NamedTuple):
    files: Sequence[str]
    embeddings: Path | None


def _in_turn(
    files: Sequence[str], embeddings: Path | None, new_lines: Collection[int], scratch: Path
) -> Iterator[_Loaded]:
    """The known items, then the new ones, in files of their own."""
    lines = [line for name in files for _, line in read_lines(name)]
    for stem, wants_new in (("known", False), ("new", True)):
        kept = [number for number in range(len(lines)) if (number in new_lines) is wants_new]
        file = scratch / f"{stem}.jsonl"
        file.write_bytes(b"".join(lines[number] + b"\n" for number in kept))
        vectors = None
        if embeddings:
            vectors = scratch / f"{stem}.npy"
            np.save(vectors, np.load(embeddings, mmap_mode="r")[kept])
        yield _Loaded([str(file)], vectors)


def items_by_key(dataset: Dataset) -> dict[ItemKey, Upsert]:
    """Of every type, but for the new ones."""
    return {item.key: item for name in dataset.items for item in dataset.known_items(name)}
