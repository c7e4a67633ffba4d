"""How good semantic IDs are: what `neo sids report` measures, as values. Pure computation on arrays of one item type.

Coherence is measured in `report_cosines`, drift in `report_drift`; nothing here knows files, catalogs or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import EventError
from neo_runtime.sid.assign import nearest_free
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.report_cosines import VectorSource, measure_cosines
from neo_runtime.sid.report_drift import Drift, Times, measure_drift
from neo_runtime.sid.space import Keys, SidSpace

SAMPLE = 10_000  # items whose vectors are looked at: under a second of lexical embedding, 50 MB at 1,024 numbers
PLACED_MAX = 50_000  # items whose collisions are played through: each may try every tuple near it
UNSEEN_PART = 10  # every tenth item is kept from the fit that tells how unseen ones would fare


@dataclass(frozen=True, slots=True)
class Quantized:
    """The live items of one type, row by row. `sids` None: no collision rule was applied yet."""

    paths: Keys
    errors: Floats
    times_us: Times
    sids: Keys | None = None
    is_placed: NDArray[np.bool_] | None = None
    """False: no SID was free, and `sids` means nothing. None: every item has its SID."""


@dataclass(frozen=True, slots=True)
class LevelReport:
    """How one level's codes are used, and how alike items are that share the codes up to it."""

    level: int
    codes: int
    used_codes: int
    perplexity: float
    """exp(entropy) of the codes' shares: as many equally used codes would say as much."""
    biggest_share: float
    """Of the items, in the level's most used code."""
    prefixes: int
    items_per_prefix: float
    cosine: float | None
    """Mean over items that share their prefix. None: no two do, or nothing is known of their vectors."""


@dataclass(frozen=True, slots=True)
class TypeReport:
    """One item type under one set of codebooks. Shares are of its items; None: cannot be told from what is there."""

    setting: str
    item_type: str
    level_sizes: tuple[int, ...]
    items: int
    distinct_paths: int
    colliding_items: int
    """Items whose tuple is also another item's, before any collision rule."""
    most_on_one_path: int
    """Items in the largest group of them."""
    moved_items: int | None
    """Items that the collision rule gave another tuple than the nearest."""
    sharing_items: int | None
    """Items that share their SID after the rule."""
    refused_items: int | None
    """Items that found no free tuple near them."""
    relative_error: float | None
    """Mean squared quantization error over the mean squared length of the embeddings; 0 loses nothing."""
    unseen_relative_error: float | None
    """The same for items that the codebook was not fitted on, of a fit without every tenth item."""
    random_cosine: float | None
    """Of two items taken at random: what prefixes must exceed."""
    vectors: Literal["embeddings", "codebooks"]
    """What cosines were measured on; `codebooks`: estimated from centroids and errors, no embedding was to be had."""
    vector_items: int
    levels: tuple[LevelReport, ...]
    drift: Drift | None

    @property
    def capacity(self) -> int:
        """How many items can have a SID of their own."""
        return math.prod(self.level_sizes)

    @property
    def collision_rate(self) -> float:
        return self.colliding_items / self.items if self.items else 0.0


def measure(
    setting: str, codebook: Codebook, items: Quantized, source: VectorSource | None, *,
    sample: int = SAMPLE, seed: int = 0, drift: Drift | None = None, unseen_relative_error: float | None = None,
) -> TypeReport:  # fmt: skip
    """Everything about one type. `source` gives the vectors of rows; where it knows none they are estimated."""
    space, paths = codebook.space, items.paths
    cosines = source and measure_cosines(space, paths, source, sample, np.random.default_rng(seed))
    is_known = bool(cosines and cosines.vectors)
    if not cosines or not is_known:
        estimate = estimated_vectors(codebook, items)
        cosines = measure_cosines(space, paths, estimate, sample, np.random.default_rng(seed))
    ordered = np.sort(paths)
    norm = cosines.mean_squared_norm
    moved, sharing, refused = _after_the_rule(items)
    return TypeReport(
        setting=setting,
        item_type=codebook.item_type,
        level_sizes=space.level_sizes,
        items=len(paths),
        distinct_paths=len(_run_lengths(ordered)),
        colliding_items=_in_company(ordered),
        most_on_one_path=int(_run_lengths(ordered).max(initial=0)),
        moved_items=moved,
        sharing_items=sharing,
        refused_items=refused,
        relative_error=float(items.errors.mean(dtype=np.float64)) / norm if norm else None,
        unseen_relative_error=unseen_relative_error,
        random_cosine=cosines.random,
        vectors="embeddings" if is_known else "codebooks",
        vector_items=cosines.vectors,
        levels=tuple(_levels(space, ordered, cosines.levels)),
        drift=drift,
    )


def _after_the_rule(items: Quantized) -> tuple[int | None, int | None, int | None]:
    """Items moved, items that share their SID, items refused."""
    if items.sids is None:
        return None, None, None
    placed = np.ones(len(items.paths), bool) if items.is_placed is None else items.is_placed
    sids = items.sids[placed]
    refused = None if items.is_placed is None else int(np.count_nonzero(~placed))
    return int(np.count_nonzero(sids != items.paths[placed])), _in_company(np.sort(sids)), refused


def drift_of(codebook: Codebook, items: Quantized, fitted_at_us: int | None = None) -> Drift:
    """Of items that a codebook meets over time; not of those that it was just fitted on."""
    return measure_drift(items.times_us, items.errors, sum(codebook.space.level_sizes), fitted_at_us)


def quantize(codebook: Codebook, embeddings: Floats, times_us: Times) -> Quantized:
    """Items that are in no catalog yet, their collisions played through as the nearest-free rule solves them."""
    codes, errors = codebook.encode(embeddings)
    paths = codebook.space.pack(codes)
    if len(paths) > PLACED_MAX:
        return Quantized(paths, errors, times_us)
    sids = place(codebook, embeddings, paths)
    is_placed = np.array([sid is not None for sid in sids], bool)
    return Quantized(paths, errors, times_us, np.array([sid or 0 for sid in sids], np.uint64), is_placed)


def place(codebook: Codebook, embeddings: Floats, paths: Keys) -> list[int | None]:
    """A SID of its own for every item in turn, the nearest that is free; None where none is left."""
    taken: set[int] = set()
    capacity = math.prod(codebook.space.level_sizes)
    sids: list[int | None] = []
    for embedding, path in zip(embeddings, paths.tolist(), strict=True):
        sid = None if len(taken) == capacity else _free(codebook, embedding, path, taken)
        sids.append(sid)
        if sid is not None:
            taken.add(sid)
    return sids


def _free(codebook: Codebook, embedding: Floats, path: int, taken: set[int]) -> int | None:
    if path not in taken:
        return path
    try:
        return nearest_free(codebook, embedding, lambda key: key not in taken)
    except EventError:
        return None


def unseen_error(codebook: Codebook, embeddings: Floats, *, seed: int = 0) -> float | None:
    """Relative error of every tenth item under a codebook of the same sizes fitted on the others.

    None where too few items are left to fit it.
    """
    is_unseen = np.zeros(len(embeddings), bool)
    is_unseen[np.random.default_rng(seed).permutation(len(embeddings))[::UNSEEN_PART]] = True
    sizes = codebook.space.level_sizes
    if np.count_nonzero(~is_unseen) < max(sizes):
        return None
    other = fit_codebook(codebook.item_type, codebook.embedder, embeddings[~is_unseen], sizes, seed=seed)
    norm = float(np.einsum("nd,nd->n", embeddings, embeddings).mean())
    return float(other.encode(embeddings[is_unseen])[1].mean()) / norm if norm else None


def estimated_vectors(codebook: Codebook, items: Quantized) -> VectorSource:
    """Reconstructions, with the squared length of the embeddings: what a centroid leaves is at a right angle to it.

    Cosines of these are those of the embeddings as far as what the codes leave of two items is unrelated. That holds
    of random items (within 0.01 on real catalogs) and nearly at the first level; items that share more codes are
    alike in what is left too, and come out up to 0.2 too low.
    """

    def source(rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        vectors = codebook.decode(codebook.space.unpack(items.paths[rows]))
        return vectors, np.einsum("nd,nd->n", vectors, vectors) + items.errors[rows]

    return source


def embedded(embed: Callable[[NDArray[np.int64]], Floats]) -> VectorSource:
    """A source of real embeddings."""

    def source(rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        vectors = embed(rows)
        return vectors, np.einsum("nd,nd->n", vectors, vectors)

    return source


def _levels(space: SidSpace, ordered: Keys, cosines: tuple[float | None, ...]) -> Iterator[LevelReport]:
    items = len(ordered)
    for level, (size, bits, shift) in enumerate(zip(space.level_sizes, space.bits, space.shifts, strict=True)):
        prefixes = ordered >> np.uint64(shift)
        counts = np.bincount((prefixes & np.uint64((1 << bits) - 1)).astype(np.int64), minlength=size)
        shares = counts[counts > 0] / max(items, 1)
        runs = int(_run_lengths(prefixes).size)
        yield LevelReport(
            level=level + 1,
            codes=size,
            used_codes=len(shares),
            perplexity=float(np.exp(-(shares * np.log(shares)).sum())) if items else 0.0,
            biggest_share=float(shares.max(initial=0.0)),
            prefixes=runs,
            items_per_prefix=items / runs if runs else 0.0,
            cosine=cosines[level],
        )


def _run_lengths(ordered: Keys) -> NDArray[np.int64]:
    """How often each distinct key occurs."""
    if not len(ordered):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return np.diff(np.append(starts, len(ordered)))


def _in_company(ordered: Keys) -> int:
    lengths = _run_lengths(ordered)
    return int(lengths[lengths > 1].sum())
