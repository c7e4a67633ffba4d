"""The report's figures as SVG: bars with intervals, groups of questions, the gap between the orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from neo_runtime.evaluation.metrics import MAIN
from neo_runtime.evaluation.report_rows import Row
from neo_runtime.evaluation.report_tables import order_pairs
from neo_runtime.sid.report_picture import COLOURS, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES, _ROW_INCHES, _FEWEST_ROWS, _MOST_ROWS = 5.2, 0.28, 3, 24
_PANELS_BESIDE = 2

Panel = Callable[["Axes"], None]


def plots(rows: Sequence[Row]) -> list[str]:
    """SVG elements; none of what there is nothing to show of."""
    bars = [partial(_bars, rows=group) for group in _by_setting(rows)]
    tall = max((len(group) for group in _by_setting(rows)), default=0)
    found = [_grid(bars, tall)] if bars else []
    if order_pairs(rows):
        types = dict.fromkeys(raw.key.item_type for raw, _ in order_pairs(rows))
        gaps = [partial(_gap, pairs=[p for p in order_pairs(rows) if p[0].key.item_type == name]) for name in types]
        found.append(_grid(gaps, max(len(order_pairs(rows)) // len(types), 4)))
    grouped = [group for group in _by_setting(rows) if len(group[0].group_means) > 1]
    if grouped:
        found.append(_grid([partial(_groups, rows=group) for group in grouped], 9))
    return found


def _by_setting(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that compare: of one task, type, order and part that was fitted on."""
    settings = dict.fromkeys(row.key._replace(model="", seed=0) for row in rows)
    return [[row for row in rows if row.key._replace(model="", seed=0) == setting] for setting in settings]


def _grid(panels: Sequence[Panel], tall: int) -> str:
    def draw(figure: Figure) -> None:
        beside = min(_PANELS_BESIDE, len(panels))
        down = -(-len(panels) // beside)
        height = 0.9 + _ROW_INCHES * min(max(tall, _FEWEST_ROWS), _MOST_ROWS)
        figure.set_size_inches(_WIDTH_INCHES * beside, height * down)
        axes = figure.subplots(down, beside, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            panel(axis)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()

    return svg(draw)


def _title(row: Row) -> str:
    key = row.key
    return " · ".join(part for part in (key.item_type, key.task, key.order, key.fit) if part)


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    """The main metric of each model with its interval."""
    places = np.arange(len(rows))
    found = [row.intervals[MAIN] for row in rows]
    errors = np.array([[one.mean - one.low, one.high - one.mean] for one in found]).T
    colours = [COLOURS[1] if row.is_fused else COLOURS[0] for row in rows]
    axes.barh(places, [one.mean for one in found], 0.66, color=colours, xerr=errors, error_kw={"ecolor": COLOURS[5]})
    axes.set_yticks(places, [row.key.model + (" (fused)" if row.is_fused else "") for row in rows])
    axes.set_xlim(0, 1.12 * max(max(one.high for one in found), 1e-6))
    axes.set_ylim(-0.6, max(len(rows), _FEWEST_ROWS) - 0.4)  # one bar alone would fill the panel
    axes.set_title(f"{_title(rows[0])}: {MAIN}")


def _gap(axes: Axes, pairs: Sequence[tuple[Row, Row]]) -> None:
    """From what the raw order gives to what is left once ties are shuffled."""
    for place, (raw, shuffled) in enumerate(pairs):
        ends = (raw.intervals[MAIN].mean, shuffled.intervals[MAIN].mean)
        axes.plot(ends, (place, place), color=COLOURS[4], linewidth=2, zorder=1)
        axes.scatter(ends[:1], [place], color=COLOURS[5], label="raw" if place == 0 else None)
        axes.scatter(ends[1:], [place], color=COLOURS[2], label="shuffled" if place == 0 else None)
    axes.set_yticks(range(len(pairs)), [f"{raw.key.model} ({raw.key.fit})" for raw, _ in pairs])
    axes.set_title(f"{pairs[0][0].key.item_type}: {MAIN}, raw against shuffled ties")
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.legend(loc="lower right")


def _groups(axes: Axes, rows: Sequence[Row]) -> None:
    """The best models by group of questions."""
    shown = rows[-4:]
    names = list(shown[-1].group_means)
    for number, row in enumerate(shown):
        values = [row.group_means[name].main if name in row.group_means else np.nan for name in names]
        axes.scatter(values, range(len(names)), color=COLOURS[number % len(COLOURS)], label=row.key.model, zorder=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", linewidth=0.4)
    axes.set_title(f"{_title(rows[0])}: {MAIN} by group")
    axes.legend(loc="best")
