"""What an embedder is, and the one way in which an item becomes the text to embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neo_runtime.types import Attribute

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Texts to unit vectors. The same text gives the same vector, alone or in a batch (within 1e-5)."""

    @property
    def name(self) -> str:
        """Identity written into codebooks: differs wherever weights or fitted tables differ."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [len(texts), dimension], rows of length 1, in the order of the texts."""


@runtime_checkable
class TypedEmbedder(Embedder, Protocol):
    """One whose vector of a text depends on the type of the item that it stands for."""

    def of_type(self, item_type: str) -> Embedder:
        """For texts of items of that type."""


def of_type(embedder: Embedder, item_type: str) -> Embedder:
    """The embedder for texts of a type's items, whatever kind it is."""
    return embedder.of_type(item_type) if isinstance(embedder, TypedEmbedder) else embedder


def unit_rows(vectors: Vectors) -> Vectors:
    """Rows of length 1, [n, dimension]. A zero row, as static models give for no known token, takes the first axis."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    first_axis = np.eye(1, vectors.shape[1], dtype=np.float32)
    return np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1), first_axis).astype(np.float32)


def item_text(title: str, description: str = "", attributes: Mapping[str, Attribute] | None = None) -> str:
    """The text that stands for an item: `Title. genres: drama, war. year: 1999. Description`.

    Attributes are sorted by name, since a protobuf map has no order and another order would be another
    embedding. They stand before the description, which may be cut off at the model's length.
    """
    facts = [_fact(name, value) for name, value in sorted((attributes or {}).items())]
    parts = (" ".join(part.split()) for part in (title, *facts, description))
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part)


def _fact(name: str, value: Attribute) -> str:
    """`name: value` in words, empty where the value says nothing."""
    shown = ", ".join(value) if isinstance(value, list) else _scalar(value)
    return f"{name.replace('_', ' ')}: {shown}" if shown.strip() else ""


def _scalar(value: str | int | float | bool) -> str:
    """A number reads the same whether it came as an integer or, through JSON, as a float: 1999, not 1999.0."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
