"""Sparse rows and a truncated SVD in numpy alone, so that fitting needs neither scipy nor scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

# Rows multiplied at once: bounds the gathered copy (non-zeros x columns of the dense side).
_ROWS_PER_STEP = 512
_OVERSAMPLING = 10
_POWER_ITERATIONS = 4


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Compressed rows. No row and no column is empty, which is what `reduceat` needs."""

    starts: NDArray[np.int64]  # [rows + 1]
    columns: NDArray[np.int64]  # [non-zeros]
    values: Matrix  # [non-zeros]

    @classmethod
    def build(cls, rows: Sequence[dict[int, float]]) -> SparseRows:
        """From one mapping column → value per row."""
        starts = np.cumsum([0, *(len(row) for row in rows)])
        columns = np.fromiter((c for row in rows for c in row), np.int64, int(starts[-1]))
        values = np.fromiter((v for row in rows for v in row.values()), np.float32, int(starts[-1]))
        return cls(starts, columns, values)

    def transpose(self) -> SparseRows:
        """Columns become rows."""
        order = np.argsort(self.columns, kind="stable")
        rows = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        counts = np.bincount(self.columns)
        assert counts.all()
        return SparseRows(np.concatenate(([0], np.cumsum(counts))), rows[order], self.values[order])

    def dot(self, dense: Matrix) -> Matrix:
        """[rows, k] from dense [columns, k]."""
        rows = len(self.starts) - 1
        product = np.empty((rows, dense.shape[1]), np.float32)
        for first in range(0, rows, _ROWS_PER_STEP):
            bounds = self.starts[first : first + _ROWS_PER_STEP + 1]
            part = slice(int(bounds[0]), int(bounds[-1]))
            terms = dense[self.columns[part]] * self.values[part, None]
            product[first : first + _ROWS_PER_STEP] = np.add.reduceat(terms, bounds[:-1] - bounds[0])
        return product


def right_singular_vectors(
    forward: Callable[[Matrix], Matrix],
    backward: Callable[[Matrix], Matrix],
    shape: tuple[int, int],
    rank: int,
    seed: int,
) -> Matrix:
    """The `rank` leading right singular vectors, [columns, rank], of the matrix X of `shape`.

    X is given by its products: forward(V) = X V and backward(U) = Xᵀ U. Randomised subspace iteration; where X has
    fewer than `rank` rows or columns the last vectors are zero.
    """
    width = min(rank + _OVERSAMPLING, *shape)
    start = np.random.default_rng(seed).standard_normal((shape[1], width), np.float32)
    basis = np.linalg.qr(forward(start)).Q
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(forward(np.linalg.qr(backward(basis)).Q)).Q
    vectors = np.linalg.svd(backward(basis), full_matrices=False).U[:, :rank]
    strongest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    vectors = vectors * np.sign(strongest)
    return np.pad(vectors, ((0, 0), (0, rank - vectors.shape[1])))
