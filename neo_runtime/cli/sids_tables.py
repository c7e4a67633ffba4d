"""How `neo sids report` prints: tables for people, one JSON document for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from neo_runtime.cli import show
from neo_runtime.sid.report import TypeReport
from neo_runtime.sid.report_tables import drift_tables, overview_tables, verdicts


def show_reports(reports: Sequence[TypeReport], notes: Sequence[str], out: Path | None, *, json: bool) -> None:
    if json:
        show.as_json({"reports": [_as_json(one) for one in reports], "notes": notes})
        return
    for table in [*overview_tables(reports), *drift_tables(reports)]:
        show.table(*table)
        show.console.print()
    for line in [*verdicts(reports), *notes]:
        show.console.print(line, soft_wrap=True, highlight=False, markup=False)
    if out:
        show.console.print(f"{out / 'report.html'}, {out / 'report.png'}", soft_wrap=True)


def _as_json(report: TypeReport) -> dict[str, object]:
    """Every figure, and the drift's verdict in words."""
    plain: dict[str, object] = msgspec.to_builtins(report)
    plain |= {"capacity": report.capacity, "collision_rate": report.collision_rate}
    if report.drift:
        plain["drift"] = {
            **msgspec.to_builtins(report.drift),
            "verdict": report.drift.verdict.name,
            "words": report.drift.words,
        }
    return plain
