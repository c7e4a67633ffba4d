"""The codebooks of a recipe, by residual k-means or by what it is compared with (NEO, ablations)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from neo_runtime.embed.base import Vectors
from neo_runtime.errors import StartupError
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.lsh import lsh_codebook
from neo_runtime.training.recipe import SidsRecipe


def fit_codebooks(vectors: Mapping[str, Vectors], embedder: str, recipe: SidsRecipe) -> list[Codebook]:
    """One for each type. StartupError where the recipe's sizes do not fit the items."""
    try:
        if recipe.method == "shared":
            everything = np.concatenate(list(vectors.values()))
            shared = fit_codebook("all types", embedder, everything, recipe.levels, seed=recipe.seed)
            return [replace(shared, item_type=name) for name in vectors]
        fit = lsh_codebook if recipe.method == "lsh" else fit_codebook
        return [fit(name, embedder, found, recipe.sizes(name), seed=recipe.seed) for name, found in vectors.items()]
    except ValueError as error:
        raise StartupError(str(error)) from error


def exchanged(vectors: Vectors, seed: int) -> Vectors:
    """Each item with the vector of another, drawn at random: the same tuples are given out, and mean nothing."""
    return vectors[np.random.default_rng(seed).permutation(len(vectors))]
