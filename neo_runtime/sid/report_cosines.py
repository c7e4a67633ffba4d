"""Prefix coherence: how alike items are that share the first codes of their paths, against items taken at random.

For an item, the mean cosine to the others of its prefix; then the mean over the items that are not alone in theirs.
Exact where every item's vector may be looked at, else from as many pairs as a sample of vectors allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.codebook import Floats
from neo_runtime.sid.space import Keys, SidSpace

Rows = NDArray[np.int64]
VectorSource = Callable[[Rows], tuple[Floats, Floats]]
"""Rows to vectors [n, dim] and their squared lengths [n]; rows of which nothing is known are not numbers."""

_LENGTH_MIN = 1e-12  # a vector without length has no direction: it is at a right angle to everything


@dataclass(frozen=True, slots=True)
class Cosines:
    """`levels[m]`: mean among items that share m+1 codes. None: no two do, or nothing is known of their vectors."""

    random: float | None
    levels: tuple[float | None, ...]
    mean_squared_norm: float
    vectors: int
    """Items whose vectors were looked at."""


def measure_cosines(
    space: SidSpace, paths: Keys, source: VectorSource, sample: int, random: np.random.Generator
) -> Cosines:
    """Looks at the vectors of at most `sample` items, or of a pair for each level if that is more."""
    if len(paths) <= sample:
        return _exact(space, paths, source)
    return _sampled(space, paths, source, sample, random)


def mean_cosine(groups: Keys, vectors: Floats, squares: Floats) -> float | None:
    """Over all pairs within each group, every item weighing the same. None where every item is alone.

    The sum over a group's pairs is the squared length of its sum, less the vectors' own: linear in the items.
    """
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else order
    sizes = np.diff(np.append(starts, len(ordered)))
    in_company = sizes > 1
    if not in_company.any():
        return None
    lengths = np.sqrt(np.maximum(squares[order].astype(np.float64), _LENGTH_MIN))
    unit = vectors[order] / lengths[:, None]
    sums = np.add.reduceat(unit, starts, axis=0)
    own = np.add.reduceat(np.einsum("nd,nd->n", unit, unit), starts)
    pairs = np.einsum("gd,gd->g", sums, sums) - own
    return float((pairs[in_company] / (sizes[in_company] - 1)).sum() / sizes[in_company].sum())


def _exact(space: SidSpace, paths: Keys, source: VectorSource) -> Cosines:
    vectors, squares = source(np.arange(len(paths)))
    known = np.isfinite(squares)
    paths, vectors, squares = paths[known], vectors[known], squares[known]
    levels = tuple(mean_cosine(paths >> np.uint64(shift), vectors, squares) for shift in space.shifts)
    everybody = mean_cosine(np.zeros(len(paths), np.uint64), vectors, squares)
    return Cosines(everybody, levels, _mean(squares), len(paths))


def _sampled(space: SidSpace, paths: Keys, source: VectorSource, sample: int, random: np.random.Generator) -> Cosines:
    pairs = max(sample // (2 * (space.levels + 1)), 1)
    order = np.argsort(paths)
    ordered = paths[order]
    drawn = [draw_pairs(np.zeros(len(paths), np.uint64), pairs, random)]
    drawn += [draw_pairs(ordered >> np.uint64(shift), pairs, random) for shift in space.shifts]
    rows, places = np.unique(order[np.concatenate(drawn)], return_inverse=True)
    vectors, squares = source(rows)
    places = places.reshape(-1, 2)
    cosines = np.split(_cosines(vectors, squares, places), np.cumsum([len(part) for part in drawn])[:-1])
    means = [_mean_or_none(part[np.isfinite(part)]) for part in cosines]
    known = squares[np.isfinite(squares)]
    return Cosines(means[0], tuple(means[1:]), _mean(known), len(known))


def draw_pairs(ordered: Keys, pairs: int, random: np.random.Generator) -> Rows:
    """Places [at most pairs, 2] in sorted keys: items that are not alone, each once, with another of the same key."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(ordered))
    in_company = np.flatnonzero(np.repeat(ends - starts > 1, ends - starts))
    first = random.choice(in_company, min(pairs, len(in_company)), replace=False)
    run = np.searchsorted(starts, first, side="right") - 1
    second = starts[run] + random.integers(0, np.maximum(ends[run] - starts[run] - 1, 1))
    second += second >= first
    return np.stack([first, second], axis=1).astype(np.int64)


def _cosines(vectors: Floats, squares: Floats, places: Rows) -> NDArray[np.float64]:
    unit = vectors / np.sqrt(np.maximum(squares.astype(np.float64), _LENGTH_MIN))[:, None]
    cosines: NDArray[np.float64] = np.einsum("pd,pd->p", unit[places[:, 0]], unit[places[:, 1]])
    return cosines


def _mean(values: Floats) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def _mean_or_none(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
