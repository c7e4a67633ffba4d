"""The model card: what a training measured of itself, with what its owner adds or a stub for that."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.journal import read_journal
from neo_runtime.training.progress import METRICS_FILE
from neo_runtime.training.recipe import TrainRecipe

_TO_BE_COMPLETED = (
    "## To be completed", "",
    "Quality: run `neo evaluate` and put its report here. Intended use, limits, and whose data it was.", "",
)  # fmt: skip
_WHAT = (
    "A decoder-only language model over text and the semantic IDs of a catalog's items, after NEO (arXiv 2603.17533), "
    "to be served with NEO Runtime."
)
CARD_FILE, REPORT_FILE = "README.md", "stages.json"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage took. `train_s` and `tokens` are of the process that ended it, padding included; `seconds` with
    the making of samples.
    """

    stage: str
    steps: int
    train_s: float
    tokens: int
    samples: Mapping[str, int]
    seconds: float

    def save(self, folder: Path) -> None:
        """Beside the other stages'."""
        (folder / REPORT_FILE).write_text(
            json.dumps(read_reports(folder) | {self.stage: asdict(self)}, indent=2) + "\n"
        )


def read_reports(folder: Path) -> dict[str, dict[str, object]]:
    """By stage."""
    file = folder / REPORT_FILE
    found: dict[str, dict[str, object]] = json.loads(file.read_text()) if file.exists() else {}
    return found


def write_card(
    out: Path, recipe: TrainRecipe, model: NeoModel, owner: Sequence[str] = _TO_BE_COMPLETED
) -> None:  # fmt: skip
    """README.md of the model's folder. `owner`: lines on use, limits, data and quality."""
    parameters = sum(weight.numel() for weight in model.lm.parameters())
    lines = [
        f"# {model.name}", "", model.note, "",
        _WHAT, "",
        "| | |", "|---|---|",
        f"| architecture | {model.lm.config.model_type}, {parameters:,} parameters |",
        *(
            f"| codes of type {name} | {' × '.join(map(str, book.space.level_sizes))}, embedder {book.embedder} |"
            for name, book in model.codebooks.items()
        ),
        f"| interactions | order {recipe.samples.order}, fitted on {recipe.samples.fit} |",
        f"| items | {1 - recipe.samples.new_items:.0%} of each type |",
        f"| labels by | {recipe.teacher.by} {recipe.teacher.model} |", "",
        "## Stages", "",
        "| stage | steps | tokens | training | tokens/s | loss at the end |", "|---|---|---|---|---|---|",
        *_stage_rows(recipe.out), "",
        "## Samples of an epoch", "",
        "| stage | task | samples |", "|---|---|---|",
        *(
            f"| {name} | {family} | {count:,} |"
            for name, report in read_reports(recipe.out).items()
            for family, count in dict(report["samples"]).items()  # type: ignore[call-overload]
        ), "",
        f"Trained on {platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end.",
        "", *owner,
    ]  # fmt: skip
    (out / CARD_FILE).write_text("\n".join(lines))


def _stage_rows(folder: Path) -> list[str]:
    metrics, rows = read_journal(folder / METRICS_FILE), []
    for name, report in read_reports(folder).items():
        losses = [line["loss"] for line in metrics if line["stage"] == name][-10:]
        tokens, seconds = float(str(report["tokens"])), float(str(report["train_s"]))
        loss = f"{sum(losses) / len(losses):.3f}" if losses else "-"
        rate = tokens / max(seconds, 1e-9)
        rows.append(f"| {name} | {report['steps']:,} | {tokens:,.0f} | {seconds:,.0f} s | {rate:,.0f} | {loss} |")
    return rows
