"""An embedder fitted on the catalog itself: no download, no torch, well under a millisecond for one item.

It knows the catalog's words and, through their letters, words that resemble them. It does not know synonyms that
the catalog never shows together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from neo_runtime.embed.base import Vectors
from neo_runtime.embed.lexical_fit import fit_word_vectors, term_weight
from neo_runtime.embed.words import grams, words
from neo_runtime.errors import ModelError

_VECTORS_FILE = "lexical.safetensors"
_WORDS_FILE = "lexical.json"
_FORMAT = "neo-lexical-1"
# Texts that a fit reads; of a larger catalog it takes an even sample, enough for stable word statistics.
_FIT_TEXTS_MAX = 50_000
_UNKNOWN_WORDS_CACHED = 10_000
# Below this length a sum of word vectors is rounding noise without a direction.
_LENGTH_MIN = 1e-6


class LexicalEmbedder:
    """Sum of fitted word vectors. Threads may share it."""

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.float16], default: NDArray[np.float32]) -> None:
        """Words, their vectors [words, dimension], and the unit vector [dimension] of a text without a known word."""
        assert vectors.shape == (len(vocabulary), len(default))
        self.dimension = len(default)
        self._stored, self._default = vectors, default
        self._vocabulary = list(vocabulary)
        self._vectors = vectors.astype(np.float32)
        self._row = {word: row for row, word in enumerate(vocabulary)}
        self._rows_of_gram = _rows_by_gram(vocabulary)
        self._unknown = lru_cache(_UNKNOWN_WORDS_CACHED)(self._resembling)
        self.name = f"lexical-{self.dimension}@{self._digest()}"

    @classmethod
    def fit(cls, texts: Sequence[str], dimension: int = 128, seed: int = 0, *, words_max: int = 5_000) -> Self:
        """Learns from a catalog's texts; `words_max` x `dimension` x 2 bytes is the size on disk."""
        sample = texts[:: -(-len(texts) // _FIT_TEXTS_MAX)] if texts else texts
        vocabulary, vectors, default = fit_word_vectors(sample, dimension, seed, words_max)
        return cls(vocabulary, vectors.astype(np.float16), default)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [len(texts), dimension], unit rows; each row depends on its text alone, to the last bit."""
        result = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            result[row] = self._embed_one(text)
        return result

    def save(self, folder: Path) -> None:
        """Writes two files; the one with the words last, so that a folder that has it is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self._stored, "default": self._default}, folder / _VECTORS_FILE)
        about = {"format": _FORMAT, "name": self.name, "dimension": self.dimension, "words": self._vocabulary}
        (folder / _WORDS_FILE).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote. ModelError where it is missing, of another format or damaged."""
        try:
            about = json.loads((folder / _WORDS_FILE).read_text(encoding="utf-8"))
            arrays = load_file(folder / _VECTORS_FILE)
        except FileNotFoundError as error:
            raise _unusable(f"no lexical embedder in {folder}: {error.filename} is missing") from error
        except Exception as error:
            raise _unusable(f"the lexical embedder in {folder} cannot be read: {error}") from error
        if about.get("format") != _FORMAT:
            raise _unusable(f"{folder} holds format {about.get('format')!r}, this version reads {_FORMAT!r}")
        if arrays["vectors"].shape != (len(about["words"]), len(arrays["default"])):
            raise _unusable(f"{folder}: words and vectors are not of one fit")
        embedder = cls(about["words"], arrays["vectors"], arrays["default"])
        if embedder.name != about["name"]:
            raise _unusable(f"{folder}: the content is {embedder.name}, it was written as {about['name']}")
        return embedder

    def _embed_one(self, text: str) -> Vectors:
        """Unit vector [dimension]."""
        total = np.zeros(self.dimension, np.float32)
        known: dict[int, float] = {}
        for word, count in Counter(words(text)).items():
            row = self._row.get(word)
            if row is None:
                total += term_weight(count) * self._unknown(word)
            else:
                known[row] = term_weight(count)
        if known:
            total += np.fromiter(known.values(), np.float32, len(known)) @ self._vectors[list(known)]
        length = np.linalg.norm(total)
        return total / length if length > _LENGTH_MIN else self._default

    def _resembling(self, word: str) -> Vectors:
        """For a word not in the catalog: mean over its letter groups of the words that share them, [dimension]."""
        total = np.zeros(self.dimension, np.float32)
        parts = grams(word)
        for part in parts:
            rows = self._rows_of_gram.get(part)
            if rows is not None:
                total += self._vectors[rows].mean(axis=0)
        return total / np.float32(max(len(parts), 1))

    def _digest(self) -> str:
        """Twelve hexadecimal digits over everything that decides a vector."""
        digest = hashlib.sha256("\n".join((_FORMAT, *self._vocabulary)).encode())
        digest.update(self._stored.tobytes())
        digest.update(self._default.tobytes())
        return digest.hexdigest()[:12]


def _rows_by_gram(vocabulary: Sequence[str]) -> dict[str, list[int]]:
    """Letter group → rows of the words that have it."""
    found: dict[str, list[int]] = {}
    for row, word in enumerate(vocabulary):
        for part in grams(word):
            found.setdefault(part, []).append(row)
    return found


def _unusable(message: str) -> ModelError:
    return ModelError(f"{message}; fit one on the catalog and save it there", reason="EMBEDDER_UNUSABLE")
