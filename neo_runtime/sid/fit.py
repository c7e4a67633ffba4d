"""Fit residual k-means codebooks (NEO §stage 1): plain k-means on embeddings, then on what is left of them."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from neo_runtime.sid.codebook import Codebook, Floats


def fit_codebook(
    item_type: str,
    embedder: str,
    embeddings: Floats,
    level_sizes: Sequence[int],
    *,
    seed: int = 0,
    iterations: int = 25,
    start: Codebook | None = None,
) -> Codebook:
    """Codebook of `level_sizes` for embeddings [n, dim]. ValueError where there are fewer items than codes.

    `start`: the codebook to refresh, of the same sizes and dimension: its centroids are where k-means begins.
    """
    if len(embeddings) < max(level_sizes):
        raise ValueError(
            f"{item_type}: {len(embeddings)} items cannot fill {max(level_sizes)} codes; "
            f"choose level sizes of at most {len(embeddings)}"
        )
    residual = np.ascontiguousarray(embeddings, np.float32).copy()
    levels = []
    for level, size in enumerate(level_sizes):
        kmeans = faiss.Kmeans(
            residual.shape[1], size, niter=iterations, seed=seed + level, min_points_per_centroid=1, verbose=False
        )
        kmeans.train(residual, init_centroids=None if start is None else np.ascontiguousarray(start.centroids[level]))
        centroids = np.array(kmeans.centroids, np.float32)
        levels.append(centroids)
        _, nearest = kmeans.index.search(residual, 1)
        residual -= centroids[nearest[:, 0]]
    return Codebook(item_type, embedder, tuple(levels))
