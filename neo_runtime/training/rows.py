"""Where the rows of the code tokens start: near the text rows, and near each other as their centroids are.

A code's row that starts from its centroid knows which codes mean similar items, which random rows have to learn.
"""

from __future__ import annotations

import numpy as np
import torch

from neo_runtime.model.checkpoint import NeoModel


@torch.no_grad()
def start_from_centroids(model: NeoModel, *, seed: int = 0) -> None:
    """Overwrite the code rows of embedding and head. Each row is as long as a text row is on average."""
    lm, vocabulary = model.lm, model.vocabulary
    weights = {id(w): w for w in (lm.get_input_embeddings().weight, lm.get_output_embeddings().weight)}
    for weight in weights.values():
        text = weight[: vocabulary.text_size].float()
        mean, spread = text.mean(0), float(text.std())
        for item_type, codebook in model.codebooks.items():
            for level, centroids in enumerate(codebook.centroids):
                directions = _rotated(centroids, weight.shape[1], seed=(seed, level))
                rows = torch.from_numpy(directions).to(weight.device) * spread * weight.shape[1] ** 0.5
                weight[vocabulary.level_tokens(item_type, level)] = (mean + rows).to(weight.dtype)


def _rotated(centroids: np.ndarray, width: int, *, seed: tuple[int, int]) -> np.ndarray:
    """[K, width]: the principal components of centroids [K, dim], turned at random, of mean squared length 1."""
    centred = centroids - centroids.mean(0)
    components = np.linalg.svd(centred, full_matrices=False).Vh[:width]
    kept = np.zeros((len(centroids), width), np.float32)
    kept[:, : len(components)] = centred @ components.T
    turned = kept @ np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width))).Q
    length = max(float(np.sqrt((turned**2).sum(1).mean())), 1e-12)
    return np.asarray(turned / length, np.float32)
