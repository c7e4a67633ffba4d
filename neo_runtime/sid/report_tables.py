"""The report's figures as text: the same tables for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from neo_runtime.sid.report import TypeReport
from neo_runtime.sid.report_drift import Bucket

UNKNOWN = "–"
_DAY_US = 86_400_000_000


class TextTable(NamedTuple):
    """Cells as they are shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def name_of(report: TypeReport) -> str:
    """The codes of each level, with the name of the codebooks where they have another."""
    codes = "×".join(map(str, report.level_sizes))
    return codes if report.setting == codes else f"{report.setting} {codes}"


def overview_tables(reports: Sequence[TypeReport]) -> list[TextTable]:
    """Of one setting: the types below each other, then their levels. Of several: a table of settings for each type."""
    if len({one.setting for one in reports}) == 1:
        return [_overview(reports), level_table(reports)]
    return [
        _comparison([one for one in reports if one.item_type == item_type])
        for item_type in dict.fromkeys(one.item_type for one in reports)
    ]


def _overview(reports: Sequence[TypeReport]) -> TextTable:
    columns = ("type", "items", *_FIGURES, "most on one", "random cosine")
    rows = [
        (one.item_type, f"{one.items:,}", *_figures(one), f"{one.most_on_one_path:,}", _cosine(one.random_cosine))
        for one in reports
    ]
    return _without_silent(f"semantic IDs, {reports[0].setting}", columns, rows)


def _comparison(reports: Sequence[TypeReport]) -> TextTable:
    first = reports[0]
    columns = ("codebooks", *_FIGURES, "in use", "cosine")
    rows = [
        (
            name_of(one),
            *_figures(one),
            " ".join(f"{level.perplexity:.0f}" for level in one.levels),
            " ".join(_cosine(level.cosine) for level in one.levels),
        )
        for one in reports
    ]
    title = f"{first.item_type}: {first.items:,} items, cosine of two at random {_cosine(first.random_cosine)}"
    return _without_silent(title, columns, rows)


_FIGURES = ("collide %", "moved %", "sharing %", "refused %", "error %", "unseen %")


def _figures(one: TypeReport) -> tuple[str, ...]:
    after = (one.moved_items, one.sharing_items, one.refused_items)
    return (
        _percent(one.collision_rate),
        *(_percent(_share(part, one.items)) for part in after),
        _percent(one.relative_error),
        _percent(one.unseen_relative_error),
    )


def _without_silent(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> TextTable:
    """Less the columns of what did not happen or is not known of any row."""
    optional = ("sharing %", "refused %", "unseen %")
    kept = [
        at
        for at, column in enumerate(columns)
        if column not in optional or any(row[at] not in (UNKNOWN, "0.0") for row in rows)
    ]
    return TextTable(title, [columns[at] for at in kept], [[row[at] for at in kept] for row in rows])


def level_table(reports: Sequence[TypeReport]) -> TextTable:
    """How each level's codes are used, and how alike items are that share the codes up to it."""
    columns = ("type", "level", "codes", "used", "in use", "biggest %", "prefixes", "items each", "cosine")
    rows = [
        (
            one.item_type,
            str(level.level),
            f"{level.codes:,}",
            f"{level.used_codes:,}",
            f"{level.perplexity:.1f}",
            _percent(level.biggest_share),
            f"{level.prefixes:,}",
            f"{level.items_per_prefix:,.1f}",
            _cosine(level.cosine),
        )
        for one in reports
        for level in one.levels
    ]
    return TextTable(f"levels, {reports[0].setting}", columns, rows)


def drift_tables(reports: Sequence[TypeReport]) -> list[TextTable]:
    """The error of items by event time, oldest first; none where no type has items of several times."""
    columns = ("type", "from", "to", "items", "median error²", "of the old items'")
    rows = [
        (
            one.item_type,
            *_span(bucket, one.drift.buckets),
            f"{bucket.items:,}",
            f"{bucket.median_error:.4f}",
            UNKNOWN if bucket.ratio is None else f"{bucket.ratio:.2f}",
        )
        for one in reports
        if one.drift and len(one.drift.buckets) > 1
        for bucket in one.drift.buckets
    ]
    return [TextTable("items by event time", columns, rows)] if rows else []


def verdicts(reports: Sequence[TypeReport]) -> list[str]:
    """Of the drift of each type, one sentence."""
    return [f"{one.item_type}: {one.drift.words}" for one in reports if one.drift]


def notes(reports: Sequence[TypeReport]) -> list[str]:
    """What a reader must know of how the figures came about."""
    return list(dict.fromkeys(_notes(reports)))


def _notes(reports: Sequence[TypeReport]) -> Iterator[str]:
    for one in reports:
        if one.vectors == "codebooks" and one.items:
            yield (
                f"{one.item_type}: embeddings are not stored and cannot be made again here (no embedder, or events "
                "carried them): cosines and the relative error are estimated from the codebooks, cosines of the deeper "
                "levels too low"
            )
        elif one.vector_items < one.items:
            yield f"{one.item_type}: cosines are of {one.vector_items:,} of {one.items:,} items"
        if one.refused_items:
            yield (
                f"{name_of(one)}: {one.refused_items:,} of {one.items:,} {one.item_type} items find no free semantic "
                f"ID among {one.capacity:,}; choose more codes or another level"
            )
        if one.moved_items is None and one.items:
            yield f"{one.item_type}: {one.items:,} items are too many to play their collisions through"


def _span(bucket: Bucket, buckets: Sequence[Bucket]) -> tuple[str, str]:
    """Dates; times of day too where days are too coarse to tell the buckets apart."""
    days = [(one.from_us // _DAY_US, one.to_us // _DAY_US) for one in buckets]
    distinct = all(before[1] < after[0] for before, after in pairwise(days))
    form = "%Y-%m-%d" if distinct else "%Y-%m-%d %H:%M:%S"
    start, end = (datetime.fromtimestamp(us / 1e6, UTC).strftime(form) for us in (bucket.from_us, bucket.to_us))
    return start, end


def _share(part: int | None, items: int) -> float | None:
    return None if part is None or not items else part / items


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f}"


def _cosine(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
