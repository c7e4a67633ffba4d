"""Drift: whether the items that came last fit the codebooks as well as those that the codebooks were made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.codebook import Floats

Times = NDArray[np.int64]

BUCKETS = 12
NEW_ITEMS_MIN = 30  # below this the median says more about the few items than about the codebooks
WORSE = 0.10  # less than this is not worth a refit, which gives every item a new SID
_DEVIATIONS = 3.0


class Verdict(Enum):
    """What the newest items say."""

    FITS = "new items fit as well as old ones"
    WORSE = "new items fit worse: refit"
    TOO_FEW = "too few new items to tell"
    ONE_TIME = "all items have one event time: nothing to compare"
    EXACT = "old items fit without error: nothing to compare"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Items of one span of event times, both ends included."""

    from_us: int
    to_us: int
    items: int
    median_error: float
    ratio: float | None
    """To the old items' median; None where that is 0."""


@dataclass(frozen=True, slots=True)
class Drift:
    """`buckets` oldest first, of about equal numbers of items as far as event times differ."""

    old_until_us: int
    old_items: int
    old_median_error: float
    expected_ratio: float
    """What unseen items of the same kind reach: centroids lie nearest to the items that they were fitted on."""
    buckets: tuple[Bucket, ...]
    verdict: Verdict
    worse_by: float | None
    """How much worse the newest items fit than expected, 0.25: a quarter; negative: better."""

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        if self.verdict is Verdict.WORSE and self.worse_by is not None:
            return f"new items fit {self.worse_by:.0%} worse than expected: refit"
        return self.verdict.value


def measure_drift(times_us: Times, errors: Floats, codes: int, old_until_us: int | None = None) -> Drift:
    """The newest items' median error against that of the old ones: up to `old_until_us`, else the older half.

    `codes` of all levels together decide what to expect: fitted on n items they are optimistic by about 2 codes / n,
    since each centroid takes the chance of the items around it along.
    """
    if old_until_us is None:
        old_until_us = int(np.quantile(times_us, 0.5, method="lower")) if len(times_us) else 0
    is_old = times_us <= old_until_us
    old = errors[is_old]
    median = float(np.median(old)) if len(old) else 0.0
    expected = 1 + 2 * codes / len(old) if len(old) else 1.0
    buckets = tuple(_buckets(times_us, errors, old_until_us, median))
    newest = errors[times_us >= buckets[-1].from_us] if buckets else errors
    verdict, worse_by = _judge(old, newest, median, expected, times_us, old_until_us)
    return Drift(old_until_us, len(old), median, expected, buckets, verdict, worse_by)


def _buckets(times_us: Times, errors: Floats, old_until_us: int, median: float) -> Iterator[Bucket]:
    """Cut where equally many items lie between, and where the old ones end."""
    if not len(times_us):
        return
    cuts = np.quantile(times_us, np.arange(1, BUCKETS) / BUCKETS, method="lower")
    place = np.searchsorted(np.unique(np.append(cuts, old_until_us)), times_us, side="left")
    for number in np.unique(place).tolist():
        mine = place == number
        error = float(np.median(errors[mine]))
        times = times_us[mine]
        yield Bucket(int(times.min()), int(times.max()), len(times), error, error / median if median else None)


def _judge(
    old: Floats, newest: Floats, median: float, expected: float, times_us: Times, old_until_us: int
) -> tuple[Verdict, float | None]:
    if not len(old) or times_us.max() <= old_until_us:
        return Verdict.ONE_TIME if len(np.unique(times_us)) < 2 else Verdict.TOO_FEW, None
    if min(len(newest), len(old)) < NEW_ITEMS_MIN:
        return Verdict.TOO_FEW, None
    if not median:
        return Verdict.EXACT, None
    worse_by = float(np.median(newest)) / median / expected - 1
    noise = np.hypot(_noise(newest), _noise(old)) / median
    is_worse = worse_by > max(WORSE, _DEVIATIONS * float(noise))
    return Verdict.WORSE if is_worse else Verdict.FITS, worse_by


def _noise(errors: Floats) -> float:
    """Standard error of the median: of a normal distribution as wide as the middle half of the errors."""
    quarter, three_quarters = np.quantile(errors, [0.25, 0.75])
    return 1.2533 * float(three_quarters - quarter) / 1.349 / float(np.sqrt(len(errors)))
