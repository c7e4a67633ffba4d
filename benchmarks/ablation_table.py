"""What `benchmarks.ablations` has measured, as Markdown beside what the paper says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.ablation_rows import RECIPE, Row
from benchmarks.measure import Table
from neo_runtime.evaluation.bootstrap import Interval, interval, paired_difference
from neo_runtime.evaluation.decoding import NEW, VALID
from neo_runtime.evaluation.metrics import per_question
from neo_runtime.evaluation.results import Key, Results

METRICS = ("HR@10", "NDCG@10", "HR@30")  # where beams are lost, it is the last places that are empty
NOTE = (
    "± is half of a 95 % interval over users (bootstrap); differences are of the same users. `agrees` and `differs` "
    "are said of the sign of our difference of HR@10 beside the paper's, `not shown` where the interval holds 0. The "
    "paper's rows are of a pre-trained decoder, ours of a fresh one. CPU seconds to train are of stages 2 and 3; (i) "
    "and (j) are decoded by code of their own, so their seconds say nothing about serving. Items outside the user's "
    "history are new; no others are in the lists. Each row is one training: "
    "what another seed would change is not in the intervals."
)
_HEADER = (
    "", *METRICS, *(f"{name} − (a)" for name in METRICS), "HR@10 in %", "paper, HR@10", "", VALID,
    "CPU s to train", "CPU s to rank",
)  # fmt: skip

Spent = Mapping[str, Mapping[str, float]]
"""CPU seconds by row, then by what was done: train, rank."""


def tables(results: Results, rows: Sequence[Row], spent: Spent) -> dict[str, Table]:
    """By type, of the rows that are finished."""
    keys = {(run.key.item_type, run.key.model): run.key for run in results.runs}
    found = {}
    for item_type in dict.fromkeys(item_type for item_type, _ in keys):
        of_type = {row.name: keys[item_type, row.name] for row in rows if (item_type, row.name) in keys}
        questions = next(run.questions for run in results.runs if run.key.item_type == item_type)
        cells = [_cells(results, row, of_type, spent) for row in rows if row.name in of_type]
        found[f"{item_type}, {questions:,} users"] = Table("", _HEADER, cells)
    return found


def verdict(difference: Interval, sign: int) -> str:
    """Of ours beside the paper's sign."""
    if not sign:
        return "–"
    if difference.low <= 0 <= difference.high:
        return "not shown"
    return "agrees" if (difference.mean > 0) == (sign > 0) else "differs"


def _cells(results: Results, row: Row, keys: Mapping[str, Key], spent: Spent) -> list[str]:
    values = per_question(results.hits(keys[row.name]))
    said = [_with_width(interval(values[name]), "") for name in METRICS]
    against = ["–"] * (len(METRICS) + 1) + [row.paper, "–"]
    if row.name != RECIPE and RECIPE in keys:
        whole = per_question(results.hits(keys[RECIPE]))
        found = [paired_difference(values[name], whole[name]) for name in METRICS]
        hits = found[0]
        share = f"{hits.mean / max(float(whole['HR@10'].mean()), 1e-9):+.1%}"
        against = [*(_with_width(one, "+") for one in found), share, row.paper, verdict(hits, row.sign)]
    return [
        row.what, *said, *against, _valid(results, row, keys[row.name].item_type),
        _seconds(spent, row.trained, "train") if row.trained == row.name else "as (a)",
        _seconds(spent, row.name, "rank"),
    ]  # fmt: skip


def _valid(results: Results, row: Row, item_type: str) -> str:
    shares = {check.name: check.share for check in results.checks.get(row.name, ()) if check.item_type == item_type}
    return f"{shares[VALID]:.2%}, {shares[NEW]:.2%} new" if shares else "all, by the trie"


def _with_width(found: Interval, sign: str) -> str:
    return f"{found.mean:{sign}.4f} ± {(found.high - found.low) / 2:.4f}"


def _seconds(spent: Spent, name: str, what: str) -> str:
    return f"{spent.get(name, {}).get(what, 0):,.0f}"
