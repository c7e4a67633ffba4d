"""How long passes take, by their rows: what budgets, admission and hints when to come back are made from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from neo_runtime.engine.backbone import Backbone

_NEWEST = 0.1  # weight of the newest pass beside those of its size before it
_LEARNED_ROWS, _LEARNED_TIMES = (1, 16, 128), 3


class Pace(NamedTuple):
    """A pass takes `pass_s` seconds, and `row_s` for each of its rows. Zero: not known yet."""

    pass_s: float = 0.0
    row_s: float = 0.0

    def seconds(self, rows: int) -> float:
        return self.pass_s + rows * self.row_s

    def rows_within(self, seconds: float, most: int) -> int:
        """The largest pass that takes no longer, up to `most` rows."""
        spare = seconds - self.pass_s
        if spare <= 0:
            return 0
        return most if self.row_s * most <= spare else int(spare / self.row_s)


class PaceMeter:
    """A line through one point for each doubling of rows: the passes that are frequent do not drown the others."""

    def __init__(self) -> None:
        self._points: dict[int, tuple[float, float]] = {}  # by bits of the number of rows: rows and seconds, smoothed
        self.pace = Pace()

    def learn(self, backbone: Backbone, context_tokens: int) -> None:
        """Run passes of several sizes, of what a context holds at most, while nothing else does."""
        sizes = [min(rows, context_tokens) for rows in _LEARNED_ROWS]
        for rows in (*sizes, *sizes * _LEARNED_TIMES):
            context = backbone.context()
            feed = context.extend([0] * rows)
            began = time.perf_counter()
            backbone.run([feed])
            self.take(rows, time.perf_counter() - began)
            context.close()

    def take(self, rows: int, seconds: float) -> None:
        """One pass."""
        known = self._points.get(rows.bit_length(), (rows, seconds))
        self._points[rows.bit_length()] = (
            known[0] + _NEWEST * (rows - known[0]), known[1] + _NEWEST * (seconds - known[1])
        )  # fmt: skip
        self.pace = _line(list(self._points.values()))


def _line(points: Sequence[tuple[float, float]]) -> Pace:
    """The line of least relative error, neither part below zero. One point: all of it by rows."""
    weights = [1 / max(seconds, 1e-9) ** 2 for _, seconds in points]
    total = sum(weights)
    rows = sum(w * n for w, (n, _) in zip(weights, points, strict=True)) / total
    seconds = sum(w * s for w, (_, s) in zip(weights, points, strict=True)) / total
    spread = sum(w * (n - rows) ** 2 for w, (n, _) in zip(weights, points, strict=True))
    together = sum(w * (n - rows) * (s - seconds) for w, (n, s) in zip(weights, points, strict=True))
    slope = max(together / spread, 0.0) if spread else seconds / rows
    if slope * rows <= seconds:
        return Pace(seconds - slope * rows, slope)
    squares = sum(w * n * n for w, (n, _) in zip(weights, points, strict=True))
    return Pace(0.0, sum(w * n * s for w, (n, s) in zip(weights, points, strict=True)) / squares)
