"""New codebooks for a model that knows the old ones: as many items as possible keep their codes.

Two ways, which go together. `fit_codebook(start=old)` begins k-means at the old centroids, so clusters move instead of
being found anew. `matched` renames the codes of any new codebook, one level after the other, so that the largest number
of items keeps its code (a maximum assignment on the counts of old and new codes). The second needs no common space of
vectors, so it also joins codebooks of different embedders. docs/sid-refresh.md has what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.codebook import Codebook

Codes = NDArray[np.uint16]


class Kept(NamedTuple):
    """Shares of items: those with the same first code, and those with the same tuple."""

    first_code: float
    tuple: float


def matched(old: Codes, new: Codes, codebook: Codebook) -> Codebook:
    """`codebook`, its codes renamed. old, new: [items, levels], codes of the same items in the old and the new one.

    ValueError where the old codes are not of its space.
    """
    space = codebook.space
    if old.shape != new.shape or old.shape[1] != space.levels or (old >= np.array(space.level_sizes)).any():
        raise ValueError(f"codes of shape {old.shape} and {new.shape} are not of {space.levels} levels like the new")
    levels, still = [], np.ones(len(old), bool)
    for level, centroids in enumerate(codebook.centroids):
        # Below a prefix that changed, the same code means something else: those items have no say.
        names = _renamed(old[still, level], new[still, level], len(centroids))
        renamed = np.empty_like(centroids)
        renamed[names] = centroids
        levels.append(renamed)
        still &= names[new[:, level]] == old[:, level]
    return Codebook(codebook.item_type, codebook.embedder, tuple(levels))


def kept(old: Codes, new: Codes) -> Kept:
    """Of items with codes [items, levels] before and after."""
    same = old == new
    return Kept(float(same[:, 0].mean()), float(same.all(axis=1).mean()))


def _renamed(old: NDArray[np.uint16], new: NDArray[np.uint16], size: int) -> NDArray[np.int64]:
    """For each new code the old one that it is to be called. Each is used once."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (new.astype(np.int64), old.astype(np.int64)), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    names = np.empty(size, np.int64)
    names[rows] = columns
    return names
