"""The report as files: a picture, and a page that needs nothing beside itself and reads in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from neo_runtime.sid.report import TypeReport
from neo_runtime.sid.report_picture import as_png, as_svg
from neo_runtime.sid.report_tables import TextTable, drift_tables, level_table, overview_tables, verdicts

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #666; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #151515; --faint: #a0a0a0; --line: #383838; } }
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.about, dd { color: var(--faint); } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--faint); font-weight: 500; } td.number, th.number { text-align: right; }
"""

_MEANINGS = {
    "collide": "Items whose nearest tuple of codes is another item's too, before any collision rule.",
    "most on one": "Items in the largest group that has one tuple: far more than two are items with nearly the same "
    "text, which no codes can tell apart.",
    "moved, sharing, refused": "What the rule made of them: another free tuple, one SID for several items, no SID.",
    "error": "Mean squared quantization error over the mean squared length of the embeddings: what the codes do not "
    "say. Unseen: the error of a tenth of the items, under codebooks fitted on the others. A wide gap between the two "
    "means that codes were spent on learning single items by heart.",
    "in use": "exp(entropy) of the shares of a level's codes: so many equally used codes would say as much.",
    "cosine": "Mean cosine of an item and another that shares its first one, two … codes; random: of two "
    "items taken at random. It should rise with every level: a level that adds nothing is a token for nothing.",
    "items by event time": "Median squared error against that of the old items. New ones are expected to be worse by "
    "2 × codes / old items, since centroids lie nearest to what they were fitted on.",
}


def write_report(folder: Path, reports: Sequence[TypeReport], notes: Sequence[str]) -> None:
    """`report.html` and `report.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.png").write_bytes(as_png(reports))
    (folder / "report.html").write_text(page(reports, notes), encoding="utf-8")


def page(reports: Sequence[TypeReport], notes: Sequence[str]) -> str:
    """One document; the picture is inside."""
    figures = f'<div class="wide">{as_svg(reports)}</div>'
    parts = [
        *map(html_table, overview_tables(reports)),
        figures,
        *map(html_table, drift_tables(reports)),
        html_list(verdicts(reports)),
    ]
    settings = list(dict.fromkeys(one.setting for one in reports))
    if len(settings) > 1:
        parts += [html_table(level_table([one for one in reports if one.setting == name])) for name in settings]
    meanings = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _MEANINGS.items())
    body = "\n".join([*parts, html_list(notes), f"<h2>What the figures say</h2><dl>{meanings}</dl>"])
    return document("Quality of the semantic IDs", "neo sids report", body)


def document(title: str, command: str, body: str) -> str:
    """A page that needs nothing beside itself; `body` is HTML."""
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}, {made}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1><p class="about">{escape(command)}, {made}</p>\n{body}\n'
        "</body></html>\n"
    )


def html_table(table: TextTable) -> str:
    numeric = [bool(table.rows) and all(_is_number(row[at]) for row in table.rows) for at in range(len(table.columns))]
    head = "".join(_cell("th", text, right) for text, right in zip(table.columns, numeric, strict=True))
    rows = "".join(
        f"<tr>{''.join(_cell('td', text, right) for text, right in zip(row, numeric, strict=True))}</tr>"
        for row in table.rows
    )
    return f'<h2>{escape(table.title)}</h2><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _cell(tag: str, text: str, is_number: bool) -> str:
    return f"<{tag}{' class=number' if is_number else ''}>{escape(text)}</{tag}>"


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").removeprefix("-").isdigit()


def html_list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
