"""Finished runs as rows of a report: seeds together, with intervals over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from neo_runtime.evaluation.bootstrap import Interval, Spread, interval, paired_difference, spread
from neo_runtime.evaluation.metrics import HITS, MAIN, NAMES, Values, per_question
from neo_runtime.evaluation.results import Key, Results, Run


class Group(NamedTuple):
    """Of some of the questions: how many, and two metrics."""

    questions: int
    hits: float
    main: float


class Row(NamedTuple):
    """All seeds of one model. `values`: the main metric of each question, the mean over seeds."""

    key: Key
    runs: Sequence[Run]
    intervals: Mapping[str, Interval]
    over_seeds: Spread
    values: Values

    @property
    def is_fused(self) -> bool:
        return self.runs[0].is_fused

    @property
    def group_means(self) -> Mapping[str, Group]:
        """Mean over seeds, by the group's name."""
        return {name: self._group(name) for name in self.runs[0].groups}

    def _group(self, name: str) -> Group:
        hits, main = (float(np.mean([run.groups[name][metric] for run in self.runs])) for metric in (HITS, MAIN))
        return Group(int(self.runs[0].groups[name]["questions"]), hits, main)


def rows_of(results: Results) -> list[Row]:
    """By task, type, order, part that was fitted on, then from the worst model to the best."""
    keys = {run.key._replace(seed=0): None for run in results.runs}
    rows = [_row(results, results.seeds(key)) for key in keys]
    return sorted(rows, key=lambda row: (row.key._replace(model="", seed=0), row.intervals[MAIN].mean))


def _row(results: Results, runs: Sequence[Run]) -> Row:
    seeds = [per_question(results.hits(run.key)) for run in runs]
    values = {name: np.mean([seed[name] for seed in seeds], axis=0) for name in NAMES}
    means = spread([run.metrics[MAIN] for run in runs])
    return Row(runs[0].key, runs, {name: interval(values[name]) for name in NAMES}, means, values[MAIN])


def against_best_baseline(rows: Sequence[Row]) -> list[tuple[Row, Row, Interval]]:
    """Each row, the best other model that stands alone, and what the same users have more with the row's."""
    found = []
    for row in rows:
        others = [
            other
            for other in rows
            if other.key._replace(model="", seed=0) == row.key._replace(model="", seed=0)
            and other.key.model != row.key.model
            and not other.is_fused
        ]
        if others:
            best = max(others, key=lambda other: other.intervals[MAIN].mean)
            found.append((row, best, paired_difference(row.values, best.values)))
    return found
