"""The report's tables, the same for a terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from neo_runtime.evaluation.bootstrap import Interval, paired_difference
from neo_runtime.evaluation.metrics import DEEPEST, HITS, MAIN, NAMES
from neo_runtime.evaluation.models import unfavoured
from neo_runtime.evaluation.published import Published
from neo_runtime.evaluation.report_rows import Group, Row, against_best_baseline
from neo_runtime.evaluation.reserved import EVERY
from neo_runtime.evaluation.results import Check
from neo_runtime.sid.report_tables import UNKNOWN, TextTable

SMALLEST_FINDING = 0.003
"""Of the main metric: what is smaller may be a seed's luck, whatever the interval over users says."""
_FIXED = ("model", "fit", "order", "alone")


def main_tables(rows: Sequence[Row]) -> list[TextTable]:
    """A table for each task and type, with half of the interval's width behind each figure."""
    tables = []
    for (task, item_type), group in groupby(rows, key=lambda row: row.key[:2]):
        listed = list(group)
        has_seeds = any(row.over_seeds.deviation is not None for row in listed)
        columns = (*_FIXED, *NAMES, *((f"sd of {MAIN}",) if has_seeds else ()))
        cells = [
            (
                *_named(row),
                *(_with_width(row.intervals[name]) for name in NAMES),
                *((_deviation(row),) if has_seeds else ()),
            )
            for row in listed
        ]
        questions = listed[0].runs[0].questions
        tables.append(_plain(TextTable(f"{item_type}: {task}, {questions:,} questions", columns, cells)))
    return tables


def short_tables(rows: Sequence[Row]) -> list[TextTable]:
    """The same for a terminal's width: the first places, and the interval of the main metric alone."""
    names = [name for name in NAMES if not name.endswith(f"@{DEEPEST}")]
    tables = []
    for (task, item_type), group in groupby(rows, key=lambda row: row.key[:2]):
        cells = [
            (
                *_named(row)[:3],
                *(_figure(row.intervals[name].mean) for name in names),
                f"{_half(row.intervals[MAIN]):.4f}",
            )
            for row in group
        ]
        tables.append(_plain(TextTable(f"{item_type}: {task}", (*_FIXED[:3], *names, "±"), cells)))
    return tables


def published_table(item_type: str, rows: Sequence[Published]) -> TextTable:
    cells = [
        (
            row.model,
            *(_figure(value) for value in (row.hr_5, row.ndcg_5, row.hr_10, row.ndcg_10)),
            row.source,
            row.grade,
        )
        for row in rows
    ]
    columns = ("model", "HR@5", "NDCG@5", "HR@10", "NDCG@10", "read in", "grade")
    return TextTable(f"{item_type}: published, not run again here", columns, cells)


def difference_table(rows: Sequence[Row]) -> Iterator[TextTable]:
    """Each model and the best other one that stands alone, on the same users."""
    cells = [
        (row.key.item_type, *_named(row), best.key.model, f"{difference.mean:+.4f}",
         f"{difference.low:+.4f} … {difference.high:+.4f}", _verdict(difference))
        for row, best, difference in against_best_baseline(rows)
    ]  # fmt: skip
    if cells:
        columns = ("type", *_FIXED, "against", MAIN, "95 %", "")
        yield TextTable("difference to the best other model alone, same users", columns, cells)


def gap_table(rows: Sequence[Row]) -> Iterator[TextTable]:
    """What shuffling a day's items costs."""
    cells = [
        (raw.key.item_type, raw.key.model, raw.key.fit, _figure(ours), _figure(theirs), f"{theirs / ours - 1:+.0%}")
        for raw, shuffled in order_pairs(rows)
        if (ours := raw.intervals[MAIN].mean) and (theirs := shuffled.intervals[MAIN].mean)
    ]
    if cells:
        columns = ("type", "model", "fit", "raw", "shuffled", "gap")
        yield TextTable(f"{MAIN} in the two orders of a day's items", columns, cells)


def favoured_table(rows: Sequence[Row]) -> Iterator[TextTable]:
    """What reserved places and bonuses give to the users of new items, and what they take from the others; same users
    each."""
    plain = {row.key: row for row in rows}
    cells = []
    for row in rows:
        other = plain.get(row.key._replace(model=unfavoured(row.key.model)))
        if other is not None and other is not row:
            difference = paired_difference(row.values, other.values)
            cells.append(
                (row.key.item_type, row.key.model, *_named(other)[1:3], row.key.task, f"{row.runs[0].questions:,}",
                 _figure(other.intervals[MAIN].mean), _figure(row.intervals[MAIN].mean), f"{difference.mean:+.4f}",
                 f"{difference.low:+.4f} … {difference.high:+.4f}")
            )  # fmt: skip
    if cells:
        columns = ("type", *_FIXED[:3], "asked for", "users", "without", "with", MAIN, "95 %")
        yield TextTable(f"new items favoured: every {EVERY}rd place (-new) or a bonus (@), and without", columns, cells)


def order_pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The same model on the raw and on the shuffled order."""
    shuffled = {row.key: row for row in rows if row.key.order == "shuffled"}
    return [
        (row, shuffled[key])
        for row in rows
        if (key := row.key._replace(order="shuffled")) in shuffled and row.key != key
    ]


def group_tables(rows: Sequence[Row]) -> list[TextTable]:
    """Hits and the main metric by group of questions; a column for each model."""
    tables = []
    for key, group in groupby(rows, key=lambda row: row.key._replace(model="", seed=0)):
        listed = list(group)
        names = list(dict.fromkeys(name for row in listed for name in row.group_means))
        cells = [
            (
                name,
                f"{listed[0].group_means[name].questions:,}",
                *(_both(row.group_means[name]) for row in listed),
            )
            for name in names
        ]
        if len(cells) > 1:
            columns = ("group", "questions", *(row.key.model for row in listed))
            about = ", ".join(part for part in (key.task, key.order, key.fit) if part)
            tables.append(TextTable(f"{key.item_type}: {HITS} / {MAIN} by group ({about})", columns, cells))
    return tables


def check_tables(checks: Mapping[str, Sequence[Check]]) -> Iterator[TextTable]:
    """What each trained model's answers are like; a column for each type."""
    for model, found in checks.items():
        types = list(dict.fromkeys(check.item_type for check in found))
        by_name = {
            name: {c.item_type: c for c in found if c.name == name} for name in dict.fromkeys(c.name for c in found)
        }
        cells = [
            (name, *(f"{of[kind].share:.3f} of {of[kind].asked:,}" if kind in of else UNKNOWN for kind in types))
            for name, of in by_name.items()
        ]
        yield TextTable(f"answers of {model}", ("", *types), cells)


def run_table(rows: Sequence[Row]) -> TextTable:
    """What was chosen on validation, and how long it took."""
    cells = [
        (row.key.item_type, row.key.task, *_named(row)[:3], str(len(row.runs)), f"{sum(r.fit_s for r in row.runs):.1f}",
         f"{sum(r.rank_s for r in row.runs):.1f}", row.runs[0].constants or UNKNOWN)
        for row in rows
    ]  # fmt: skip
    columns = ("type", "task", *_FIXED[:3], "seeds", "fit s", "rank s", "chosen")
    return TextTable("runs", columns, cells)


def _named(row: Row) -> tuple[str, str, str, str]:
    return row.key.model, row.key.fit or UNKNOWN, row.key.order or UNKNOWN, "fused" if row.is_fused else "alone"


def _plain(table: TextTable) -> TextTable:
    """Without fixed columns in which no row says anything."""
    silent = [at for at, name in enumerate(table.columns) if all(row[at] == UNKNOWN for row in table.rows)]
    kept = [at for at in range(len(table.columns)) if at not in silent]
    return TextTable(
        table.title, [table.columns[at] for at in kept], [[row[at] for at in kept] for row in table.rows]
    )  # fmt: skip


def _with_width(found: Interval) -> str:
    return f"{found.mean:.4f} ± {_half(found):.4f}"


def _half(found: Interval) -> float:
    return (found.high - found.low) / 2


def _deviation(row: Row) -> str:
    return UNKNOWN if row.over_seeds.deviation is None else f"{row.over_seeds.deviation:.4f} ({len(row.runs)} seeds)"


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _both(group: Group) -> str:
    return f"{_figure(group.hits)} / {_figure(group.main)}"


def _verdict(difference: Interval) -> str:
    if abs(difference.mean) < SMALLEST_FINDING or difference.low <= 0 <= difference.high:
        return "no finding"
    return "better" if difference.mean > 0 else "worse"
