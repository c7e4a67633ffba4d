"""Print answers: tables and colours for people, one JSON document for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from neo_runtime.client import Ranking

console = Console()
errors = Console(stderr=True)


def as_json(value: object) -> None:
    """One document on standard output, nothing else."""
    console.file.write(json.dumps(_plain(value), ensure_ascii=False, indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Numbers to the right."""
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    content = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(content) and all(_is_number(row[index]) for row in content)
        grid.add_column(column, justify="right" if numeric else "left")
    for row in content:
        grid.add_row(*row)
    console.print(grid)


def ranking(answer: Ranking, title: str) -> None:
    """A ranked list as a table."""
    extra = [name for name in ("year",) if any(name in row.item.attributes for row in answer.results)]
    rows = [
        (
            place,
            row.item.title,
            *(row.item.attributes.get(name, "") for name in extra),
            row.item.key,
            f"{row.logprob:.2f}",
        )
        for place, row in enumerate(answer.results, start=1)
    ]
    table(title, ("#", "title", *extra, "item", "log p"), rows)


def ranking_json(answer: Ranking) -> dict[str, object]:
    """The same for scripts."""
    return {
        "snapshot": answer.snapshot,
        "generation": answer.generation,
        "unknown_history_items": answer.unknown_history_items,
        "results": [
            {
                "items": [
                    {"item": str(item.key), "title": item.title, "attributes": dict(item.attributes)}
                    for item in row.items
                ],
                "logprob": row.logprob,
                "codes": row.codes,
            }
            for row in answer.results
        ],
    }


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).replace(",", "").isdigit()


class _Speed(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")


def progress(what: str, *, quiet: bool = False) -> Callable[[int, int], None]:
    """A bar for long work: called with what is done and what there is to do."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeElapsedColumn(),
        console=errors, transient=False, disable=quiet or not errors.is_terminal,
    )  # fmt: skip
    task = bar.add_task(what, total=None)

    def advance(done: int, total: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return advance
