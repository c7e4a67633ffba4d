"""`report.md` and `report.html` of all that a results folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neo_runtime.data.dataset import Dataset
from neo_runtime.evaluation.published import published
from neo_runtime.evaluation.report_plots import plots
from neo_runtime.evaluation.report_rows import Row, rows_of
from neo_runtime.evaluation.report_tables import (
    check_tables,
    difference_table,
    favoured_table,
    gap_table,
    group_tables,
    main_tables,
    published_table,
    run_table,
    short_tables,
)
from neo_runtime.evaluation.results import Results
from neo_runtime.sid.report_page import document, html_list, html_table
from neo_runtime.sid.report_tables import TextTable

TITLE = "Recommendation and search"
NOTES = """
Each user's last item of a type is asked for, the one before it is for validation, the rest is for training. All items
of the type are ranked, those of the history left out.

Fit T: fitted on train. TV: on train and validation; compare TV with TV. In both, the validation item is in the history
that the test item is asked for with.

Order raw: a user's items of one day as the file has them. Shuffled: with a fixed seed, before the split. Files that
list a day's items by id give the answer away in the raw order: compare with published tables there, and models with
each other in the shuffled one. A type without days or times has the raw order alone.

New items are held out of all training; who asks for one of them is asked, and of the others some. A model with -new
behind its name keeps every third place for them.

± is half of the 95 % interval over users (bootstrap). Constants, epochs and weights of fusions are chosen on
validation, fitted on T.
"""


def write_report(folder: Path, dataset: Dataset, results: Results) -> list[TextTable]:
    """Both files; returns the main tables, short."""
    rows = rows_of(results)
    tables = [*_tables(dataset, rows), *check_tables(results.checks)]
    words = [*(" ".join(note.split()) for note in NOTES.split("\n\n")), *_about(dataset)]
    markdown = [f"# {TITLE}", *(f"- {line}" for line in words), *map(_markdown, tables)]
    (folder / "report.md").write_text("\n\n".join(markdown) + "\n", encoding="utf-8")
    figures = [f'<div class="wide">{figure}</div>' for figure in plots(rows)]
    body = "\n".join([html_list(words), *figures, *map(html_table, tables)])
    (folder / "report.html").write_text(document(TITLE, "neo evaluate", body), encoding="utf-8")
    return short_tables(rows)


def _tables(dataset: Dataset, rows: Sequence[Row]) -> list[TextTable]:
    """Published figures stand behind the type's own."""
    tables: list[TextTable] = []
    for item_type in dict.fromkeys(row.key.item_type for row in rows):
        tables += main_tables([row for row in rows if row.key.item_type == item_type])
        if known := published(dataset, item_type):
            tables.append(published_table(item_type, known))
    differences = [*difference_table(rows), *favoured_table(rows)]
    return [*tables, *differences, *gap_table(rows), *group_tables(rows), run_table(rows)]


def _about(dataset: Dataset) -> list[str]:
    return [
        f"{name}: {len(sequences.users):,} users, {len(dataset.items[name]):,} items, "
        f"{len(sequences.items.values):,} interactions"
        for name, sequences in sorted(dataset.sequences.items())
    ]


def _markdown(table: TextTable) -> str:
    lines = [f"## {table.title}", ""] + [
        f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
        for row in (table.columns, ["---"] * len(table.columns), *table.rows)
    ]
    return "\n".join(lines)
