"""What users say of items: vectors of items that come near each other in histories (PPMI and SVD)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.data.ragged import Ragged
from neo_runtime.data.transitions import transitions
from neo_runtime.embed.base import Vectors, unit_rows
from neo_runtime.embed.sparse import right_singular_vectors

DIMENSION, WINDOW = 64, 20
# Of context frequencies: keeps rare items from having the largest PPMI (the usual smoothing of word vectors).
_SMOOTHING = 0.75


class Collaborative(NamedTuple):
    """`vectors`: unit rows [items, dimension], `known`: items that have a neighbour at all; the others' rows say
    nothing.
    """

    vectors: Vectors
    known: NDArray[np.bool_]


def collaborative_vectors(
    rows: Ragged, items: int, *, dimension: int = DIMENSION, window: int = WINDOW, seed: int = 0
) -> Collaborative:
    """Of the training part's rows alone. Items count as near each other up to `window` places apart, whichever way."""
    directed = transitions(rows, items, np.ones(window, np.float32))
    near = (directed + directed.T).tocoo()
    counts = np.asarray(near.sum(axis=1)).ravel()
    known = counts > 0
    if not known.any():
        return Collaborative(np.zeros((items, dimension), np.float32), known)
    smoothed = counts**_SMOOTHING
    smoothed /= smoothed.sum()
    ratio = near.data / (counts[near.row] * smoothed[near.col])
    near.data = np.maximum(np.log(np.maximum(ratio, 1e-12)), 0).astype(np.float32)
    matrix = near.tocsr()
    found = right_singular_vectors(lambda v: matrix @ v, lambda u: matrix.T @ u, (items, items), dimension, seed)
    lengths = np.linalg.norm(matrix @ found, axis=0)
    vectors = unit_rows((matrix @ found) / np.sqrt(np.maximum(lengths, 1e-12)))
    return Collaborative(vectors, known & (np.asarray(matrix.sum(axis=1)).ravel() > 0))
