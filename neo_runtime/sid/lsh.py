"""Codes of random hyperplanes instead of clusters: what residual k-means is compared with (NEO, ablations).

A level of 2^b codes cuts the vectors with b random hyperplanes through their mean, and the code is on which side of
each a vector lies. All normals are orthonormal, so the nearest of the centroids `Σ ±scale · normal` is the one with a
vector's own signs, and what is left of it lies as it did to the planes of further levels: hashing is a codebook like
any other, and everything behind it stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neo_runtime.sid.codebook import Codebook, Floats


def lsh_codebook(
    item_type: str, embedder: str, embeddings: Floats, level_sizes: Sequence[int], *, seed: int = 0
) -> Codebook:
    """Of `level_sizes` for embeddings [n, dim]. ValueError where a size is no power of two, or they have more bits
    than the embeddings have dimensions.
    """
    bits = [size.bit_length() - 1 for size in level_sizes]
    dimension = embeddings.shape[1]
    if any(1 << count != size for count, size in zip(bits, level_sizes, strict=True)) or sum(bits) > dimension:
        raise ValueError(
            f"{item_type}: random hyperplanes give codes by powers of two, {dimension} of them at most in all; "
            f"{tuple(level_sizes)} are not such sizes"
        )
    random = np.random.default_rng(seed)
    normals = np.linalg.qr(random.standard_normal((dimension, sum(bits)))).Q.T.astype(np.float32)
    mean = embeddings.mean(0)
    # The best length of one side's centroid: signs alone decide the codes, but the collision rule asks for the nearest.
    scaled = normals * np.abs((embeddings - mean) @ normals.T).mean(0)[:, None]
    levels, first = list[Floats](), 0
    for level, count in enumerate(bits):
        signs = ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1) * 2 - 1
        centroids = signs @ scaled[first : first + count] + (mean if level == 0 else 0)
        levels.append(centroids.astype(np.float32))
        first += count
    return Codebook(item_type, embedder, tuple(levels))
