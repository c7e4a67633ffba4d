"""`neo demo`: the whole path, on a catalog that people know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    kafka: Annotated[bool, typer.Option("--kafka", help="Through a real local Kafka, started from pip.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the workers running for a second terminal.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder with another catalog (*.jsonl).", exists=True)] = None,
) -> None:
    """See NEO Runtime do its job: load a catalog, ask, publish an item, see it answered, delete it again."""
    from neo_runtime.cli.walkthrough import run_demo

    run_demo(kafka=kafka, keep=keep, data=data)
