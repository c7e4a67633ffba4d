"""Many texts, embedded with a word on how far it is: a large catalog takes minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from neo_runtime.embed.base import Embedder, Vectors

_BATCH = 256

Told = Callable[[int, int], None]
"""How many are done, of how many."""


def embed_all(embedder: Embedder, texts: Sequence[str], told: Told = lambda *_: None) -> Vectors:
    """As `embedder.embed`, long texts together: padding is work too."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors = np.empty((len(texts), embedder.dimension), np.float32)
    for first in range(0, len(order), _BATCH):
        rows = order[first : first + _BATCH]
        vectors[rows] = embedder.embed([texts[row] for row in rows])
        told(first + len(rows), len(order))
    return vectors
