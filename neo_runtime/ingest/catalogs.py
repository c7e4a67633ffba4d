"""Open the catalog that the settings name, or make it from a model's codebooks, with their embedder."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.config import Settings
from neo_runtime.embed import Embedder, load_embedder
from neo_runtime.embed.load import EMBEDDER_FOLDER, load_folder
from neo_runtime.errors import StartupError
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.trie.predicate_json import declared

_log = structlog.get_logger(__name__)


def open_or_create(settings: Settings, *, source: Path | None = None, policy: str = "nearest-free") -> Catalog:
    """The catalog for writing. A new one takes codebooks and fitted embedder from `source`: a model's folder, or what
    `neo sids fit` wrote; without one, from the settings' model or the demo model.
    """
    folder, named = settings.catalog, tuple(declared(settings.filters).values())
    map_size = int(settings.map_size_gb * 2**30)
    if Catalog.exists(folder):
        embedder = embedder_of(folder, settings.embedder)
        return Catalog.open(
            folder, embedder=embedder, durable=settings.durable, named=named, map_size=map_size
        )  # fmt: skip
    source = source or settings.model
    try:
        chosen = CollisionPolicy(policy)
    except ValueError as error:
        names = ", ".join(entry.value for entry in CollisionPolicy)
        raise StartupError(f"policy {policy!r} is not one of {names}") from error
    embedder = embedder_of(source, settings.embedder)
    if (source / EMBEDDER_FOLDER).is_dir():
        shutil.copytree(source / EMBEDDER_FOLDER, folder / EMBEDDER_FOLDER, dirs_exist_ok=True)
    codebooks = load_codebooks(source / "codebooks")
    return Catalog.create(
        folder, codebooks, embedder=embedder, policy=chosen, durable=settings.durable, named=named, map_size=map_size
    )


def embedder_of(folder: Path, spec: str) -> Embedder | None:
    """The one that `spec` names, else the one that the codebooks beside it were fitted with.

    None where that one is not to be had from its name: events must then carry their embeddings.
    """
    if spec:
        return load_embedder(spec)
    if (folder / EMBEDDER_FOLDER).is_dir():
        return load_folder(folder / EMBEDDER_FOLDER)
    names = {codebook.embedder for codebook in load_codebooks(folder / "codebooks").values()}
    if len(names) == 1 and next(iter(names)).startswith("all-MiniLM-L6-v2@"):
        return load_embedder("minilm")
    _log.warning("no embedder: events must carry embeddings", fitted_with=sorted(names), setting="NEO_EMBEDDER")
    return None
