"""Embeddings of a data folder's items, made when somebody asks for them and kept in the results folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.embed.base import Embedder, Vectors
from neo_runtime.embed.batches import embed_all
from neo_runtime.embed.load import load_embedder


class ItemVectors:
    """`say` is told how far it is. Files are named by embedder and texts, so no stale one is ever read."""

    def __init__(self, dataset: Dataset, folder: Path, spec: str, say: Callable[[str], None] = lambda _: None) -> None:
        self._dataset, self._folder, self._spec, self._say = dataset, folder, spec, say
        self._loaded: Embedder | None = None
        self._vectors: dict[str, Vectors] = {}

    @property
    def embedder(self) -> Embedder:
        if self._loaded is None:
            self._loaded = load_embedder(self._spec)
        return self._loaded

    def of(self, item_type: str) -> Vectors:
        """[items, dimension], in the order of the dataset's."""
        if item_type not in self._vectors:
            texts = self._dataset.texts(item_type)
            digest = hashlib.blake2b("\n".join((self._spec, *texts)).encode(), digest_size=8).hexdigest()
            path = self._folder / f"vectors.{item_type}.{digest}.npy"
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                np.save(path, self._embedded(item_type, texts))
            self._vectors[item_type] = np.load(path)
        return self._vectors[item_type]

    def _embedded(self, item_type: str, texts: list[str]) -> Vectors:
        def told(done: int, total: int) -> None:
            self._say(f"embedding {item_type}: {done:,} of {total:,} items")

        return embed_all(self.embedder, texts, told)
