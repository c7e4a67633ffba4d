"""`neo sids`: semantic IDs of a catalog of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Semantic IDs: fit codebooks on items.", no_args_is_help=True)


@app.command()
def fit(
    files: Annotated[list[Path], typer.Argument(help="Item files (JSON lines, may be .gz).", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder that the codebooks go to.")],
    levels: Annotated[str, typer.Option(help="Codes per level, for every type.", metavar="K,K,…")] = "256,256,256",
    embedder: Annotated[
        str,
        typer.Option(help="minilm, lexical (fitted on the items), lexical:FOLDER or st:NAME.", envvar="NEO_EMBEDDER"),
    ] = "lexical",
    seed: Annotated[int, typer.Option(help="Of the k-means.")] = 0,
) -> None:
    """Fit one residual k-means codebook per item type (NEO, stage 1).

    neo sids fit films.jsonl books.jsonl --levels 64,64,64 --out codebooks
    """
    from neo_runtime.catalog.fit import fit_catalog
    from neo_runtime.cli.show import table
    from neo_runtime.ingest.bulk import read_upserts

    try:
        sizes = [int(size) for size in levels.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--levels {levels!r} is not a list of numbers") from error
    _, reports = fit_catalog(read_upserts(files), sizes, embedder, out, seed=seed)
    rows = [(*report[:-1], f"{report.mean_squared_error:.4f}") for report in reports]
    table(f"codebooks in {out / 'codebooks'}", ("type", "items", "codebook", "colliding items", "error²"), rows)
