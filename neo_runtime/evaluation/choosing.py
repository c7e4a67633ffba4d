"""Constants are chosen on the validation part, fitted on T, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from neo_runtime.data.split import Cases, Fit, Part, Split
from neo_runtime.evaluation.metrics import MAIN, means, single_hits
from neo_runtime.evaluation.ranker import Ranker

MOST_CASES = 25_000

R = TypeVar("R", bound=Ranker)


def best(split: Split, candidates: Sequence[R]) -> R:
    """The candidate that ranks the validation sample best."""
    cases = validation_sample(split)
    found = []
    for candidate in candidates:
        candidate.fit(split, Fit.T)
        found.append(validation_score(candidate, cases))
    return candidates[int(np.argmax(found))]


def validation_score(ranker: Ranker, cases: Cases) -> float:
    return means(single_hits(ranker.rank(cases.asked).items, cases.targets))[MAIN]


def validation_sample(split: Split, most: int = MOST_CASES) -> Cases:
    """Enough to choose by, the same for everybody."""
    cases = split.cases(Part.VALIDATION)
    if len(cases.targets) <= most:
        return cases
    return cases.take(np.sort(np.random.default_rng(0).choice(len(cases.targets), most, replace=False)))
