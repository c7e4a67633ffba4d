"""The report as one figure. matplotlib is imported where it draws, and never opens a window."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from neo_runtime.sid.report import TypeReport
from neo_runtime.sid.report_tables import name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, told apart by eyes of every kind; readable on white and on black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_INK = "#010203"  # what stands for the page's own text colour in an SVG
_PANEL_INCHES = (3.9, 2.9)

Panel = Callable[["Axes", Sequence[TypeReport]], None]


def as_png(reports: Sequence[TypeReport]) -> bytes:
    """On white."""
    return _save(partial(_draw, reports=reports), "png", "#222222", facecolor="white", dpi=110)


def as_svg(reports: Sequence[TypeReport]) -> str:
    return svg(partial(_draw, reports=reports))


def svg(draw: Callable[[Figure], None]) -> str:
    """An `<svg>` element for a page: transparent, its lines and letters in the page's text colour."""
    text = _save(draw, "svg", _INK, transparent=True, metadata={"Date": None, "Creator": None}).decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace(_INK, "currentColor")


def _save(draw: Callable[[Figure], None], form: str, ink: str, **options: Any) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink)
    style: Any = {
        **colours, "font.size": 8.5, "axes.titlesize": 9.5, "axes.spines.top": False, "axes.spines.right": False,
        "svg.fonttype": "none", "svg.hashsalt": "neo", "legend.frameon": False, "text.parse_math": False,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        target = io.BytesIO()
        figure.savefig(target, format=form, **options)
    return target.getvalue()


def _draw(figure: Figure, reports: Sequence[TypeReport]) -> None:
    """A row of panels for each type."""
    is_comparison = len({one.setting for one in reports}) > 1
    panels = (_collisions, _errors, _compared_use, _compared_cosines) if is_comparison else (_use, _cosines, _drift)
    types = list(dict.fromkeys(one.item_type for one in reports))
    width, height = _PANEL_INCHES
    figure.set_size_inches(width * len(panels), height * len(types))
    grid = figure.subplots(len(types), len(panels), squeeze=False)
    for axes, item_type in zip(grid, types, strict=True):
        for axis, panel in zip(axes, panels, strict=True):
            panel(axis, [one for one in reports if one.item_type == item_type])


def _use(axes: Axes, reports: Sequence[TypeReport]) -> None:
    (one,) = reports
    places = np.arange(len(one.levels))
    axes.bar(places - 0.2, [x.used_codes / x.codes for x in one.levels], 0.38, color=COLOURS[4], label="used")
    axes.bar(
        places + 0.2, [x.perplexity / x.codes for x in one.levels], 0.38, color=COLOURS[0], label="evenly used"
    )  # fmt: skip
    axes.set_xticks(places, [f"level {x.level}\n{x.codes} codes" for x in one.levels])
    axes.set_ylim(0, 1.25)
    axes.set_title(f"{one.item_type}: share of the codes in use")
    axes.legend(loc="upper right", ncols=2)


def _cosines(axes: Axes, reports: Sequence[TypeReport]) -> None:
    (one,) = reports
    known = [(x.level, x.cosine) for x in one.levels if x.cosine is not None]
    axes.plot([0, *(level for level, _ in known)], [one.random_cosine or 0, *(value for _, value in known)],
              color=COLOURS[0], marker="o")  # fmt: skip
    for level, value in known:
        axes.annotate(f"{value:.2f}", (level, value), textcoords="offset points", xytext=(0, 6), ha="center")
    axes.set_xticks(range(len(one.levels) + 1), ["random", *(f"{x.level}" for x in one.levels)])
    axes.set_xlabel("codes that two items share")
    axes.set_ylim(min(0.0, one.random_cosine or 0), 1.05)
    axes.set_title(f"{one.item_type}: mean cosine of embeddings")


def _drift(axes: Axes, reports: Sequence[TypeReport]) -> None:
    (one,) = reports
    axes.set_title(f"{one.item_type}: error by event time, old items = 1")
    if one.drift is None or not one.drift.buckets:
        axes.set_axis_off()
        return
    axes.text(0.03, 0.97, fill(one.drift.words, 48), transform=axes.transAxes, va="top")
    if len(one.drift.buckets) == 1:
        axes.set_axis_off()
        return
    ratios = [bucket.ratio if bucket.ratio is not None else np.nan for bucket in one.drift.buckets]
    axes.plot(ratios, color=COLOURS[5], marker="o")
    axes.axhline(1, color=COLOURS[0], linewidth=1)
    axes.axhline(one.drift.expected_ratio, color=COLOURS[2], linewidth=1, linestyle="--", label="expected of new ones")
    axes.set_xticks(range(len(ratios)), [str(number) for number in range(1, len(ratios) + 1)])
    axes.set_xlabel("bucket of items, oldest first")
    top = max(1.3, one.drift.expected_ratio, *(ratio for ratio in ratios if np.isfinite(ratio)))
    axes.set_ylim(0, 1.25 * float(top))
    axes.legend(loc="lower right")


def _collisions(axes: Axes, reports: Sequence[TypeReport]) -> None:
    moved = [100 * (one.moved_items or 0) / max(one.items, 1) for one in reports]
    refused = [100 * (one.refused_items or 0) / max(one.items, 1) for one in reports]
    colliding = [100 * one.collision_rate for one in reports]
    _bars(axes, reports, "items that collide, %", {"colliding": colliding, "moved": moved, "refused": refused})


def _errors(axes: Axes, reports: Sequence[TypeReport]) -> None:
    fitted = [100 * (one.relative_error or 0) for one in reports]
    unseen = [100 * (one.unseen_relative_error or 0) for one in reports]
    _bars(axes, reports, "quantization error, %", {"fitted items": fitted, "unseen items": unseen})


def _compared_use(axes: Axes, reports: Sequence[TypeReport]) -> None:
    _bars(axes, reports, "codes evenly in use, %", _by_level(
        reports, lambda one, level: 100 * one.levels[level].perplexity / one.levels[level].codes
    ))  # fmt: skip


def _compared_cosines(axes: Axes, reports: Sequence[TypeReport]) -> None:
    series: dict[str, Sequence[float]] = {"random": [one.random_cosine or 0.0 for one in reports]}
    series |= _by_level(reports, lambda one, level: one.levels[level].cosine or 0.0)
    _bars(axes, reports, "mean cosine by shared codes", series)


def _by_level(
    reports: Sequence[TypeReport], value: Callable[[TypeReport, int], float]
) -> dict[str, Sequence[float]]:  # fmt: skip
    deepest = max(len(one.levels) for one in reports)
    return {
        f"level {level + 1}": [value(one, level) if level < len(one.levels) else 0.0 for one in reports]
        for level in range(deepest)
    }


def _bars(axes: Axes, reports: Sequence[TypeReport], title: str, series: dict[str, Sequence[float]]) -> None:
    """A group of bars for every report; series in which nothing happened are left out."""
    shown = {name: values for name, values in series.items() if any(values)} or dict(list(series.items())[:1])
    width = 0.8 / len(shown)
    places = np.arange(len(reports))
    for number, (name, values) in enumerate(shown.items()):
        axes.bar(places - 0.4 + width * (number + 0.5), values, width * 0.92, color=COLOURS[number % 6], label=name)
    axes.set_xticks(places, [name_of(one) for one in reports], fontsize=7)
    if len(reports) > 3:
        axes.tick_params("x", labelrotation=60)
    axes.set_title(f"{reports[0].item_type}: {title}")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.35)
    axes.legend(loc="upper right", ncols=2)
