"""How sure a mean over users is: resampling of users, seeded.

A sample of users with replacement is, for their mean, a multinomial draw over the values that occur. Metrics of one
right item take 31 values, so a thousand samples of 22 thousand users cost a thousand draws of 31 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neo_runtime.evaluation.metrics import Values

SAMPLES = 2_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and where it lies, in LEVEL of the samples."""

    mean: float
    low: float
    high: float


class Spread(NamedTuple):
    """Over seeds; no deviation of a single one."""

    mean: float
    deviation: float | None


def interval(values: Values, *, seed: int = 0) -> Interval:
    """Of the mean of `values`, one value a user."""
    occurring, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=SAMPLES)
    low, high = np.quantile(draws @ occurring / len(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(values.mean())
    return Interval(mean, min(float(low), mean), max(float(high), mean))  # sums of equal values differ in the last bit


def paired_difference(ours: Values, theirs: Values, *, seed: int = 0) -> Interval:
    """Of the mean of what the same users have more with the one than with the other."""
    assert len(ours) == len(theirs)
    return interval(np.round(ours - theirs, 12), seed=seed)


def spread(means: Sequence[float]) -> Spread:
    return Spread(float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else None)
