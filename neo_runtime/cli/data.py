"""`neo data …`: folders of interactions to train on and to evaluate with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neo_runtime.cli import show
from neo_runtime.cli.ask import AsJson

app = typer.Typer(help="Folders of items, interactions and queries.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Data folder.", exists=True)],
    json: AsJson = False,
) -> None:
    """Read every line of a data folder and say what it holds; the first line that is wrong is named.

    neo data check my-data
    """
    from neo_runtime.data.dataset import read_dataset

    dataset = read_dataset(folder)
    rows = []
    for name, items in sorted(dataset.items.items()):
        sequences = dataset.sequences.get(name)
        clock = "none"
        if sequences is not None and sequences.clock is not None:
            clock = "day" if sequences.times_s is None else "time"
        users, lines = (0, 0) if sequences is None else (len(sequences.users), len(sequences.items.values))
        queries = sum(query.items[0].type == name for query in dataset.queries)
        rows.append((name, len(items), users, lines, clock, queries))
    columns = ("type", "items", "users", "interactions", "clock", "queries")
    if json:
        types = [dict(zip(columns, row, strict=True)) for row in rows]
        show.as_json({"types": types, "users": len(dataset.users), "repeats": dataset.repeats})
        return
    shown = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    show.table(str(folder), columns, shown)
    show.console.print(f"{len(dataset.users):,} users, {dataset.repeats:,} repeated interactions left out")


@app.command()
def amazon(
    folder: Annotated[Path, typer.Argument(help="Folder with the Amazon 2014 files.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Data folder to write.")],
    json: AsJson = False,
) -> None:
    """Make a data folder of the Amazon 2014 files, which published tables report on.

    neo data amazon amazon-2014 my-data
    """
    from neo_runtime.data.amazon import convert_amazon

    written = convert_amazon(folder, out)
    if json:
        show.as_json({name: {"items": items, "interactions": lines} for name, (items, lines) in written.items()})
        return
    rows = [(name, f"{items:,}", f"{lines:,}") for name, (items, lines) in written.items()]
    show.table(str(out), ("type", "items", "interactions"), rows)
