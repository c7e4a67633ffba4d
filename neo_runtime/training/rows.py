"""Where the rows of tokens start: codes' near each other as their centroids are, a fresh model's words near the codes
of the items that they are said of.

A code's row that starts from its centroid knows which codes mean similar items, and a word's which items it belongs to.
Random rows have to learn both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

from neo_runtime.model.checkpoint import NeoModel

_RANDOM_SHARE = 0.2
"""Of its own random row in a word's, beside the mean row of its items' codes: words of the same items still differ."""


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


@torch.no_grad()
def start_words_from_items(
    model: NeoModel, texts: Mapping[str, Sequence[str]], codes: Mapping[str, NDArray[np.uint16]]
) -> None:
    """Overwrite the text rows of a model with a tied head, which keep their length. By type: the items' texts, and
    their first codes, whose rows lie where they start from already.
    """
    vocabulary, weight = model.vocabulary, model.lm.get_input_embeddings().weight
    text = weight[: vocabulary.text_size]
    sums, counts = torch.zeros_like(text), torch.zeros(len(text), 1)
    for item_type, of_type in texts.items():
        rows = weight[vocabulary.level_tokens(item_type, 0)]
        rows_said = (rows - rows.mean(0))[codes[item_type].astype(np.int64)]
        said_in, times = _texts_by_token(model, of_type)
        sums += embedding_bag(said_in, rows_said, times.cumsum(0) - times, mode="sum")
        counts += times[:, None]
    started = sums / counts.clamp(min=1) + _RANDOM_SHARE * text
    lengths = text.norm(dim=1, keepdim=True), started.norm(dim=1, keepdim=True)
    weight[: vocabulary.text_size] = started * lengths[0] / lengths[1].clamp(min=1e-12)


def _texts_by_token(model: NeoModel, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the texts that have each token, one token after the other, and [tokens]: how many these are."""
    tokens = [sorted(set(found)) for found in model.tokenizer(list(texts))["input_ids"]]
    flat = torch.tensor(list(chain.from_iterable(tokens)))
    places = torch.repeat_interleave(torch.tensor([len(found) for found in tokens]))
    return places[flat.argsort()], flat.bincount(minlength=model.vocabulary.text_size)
