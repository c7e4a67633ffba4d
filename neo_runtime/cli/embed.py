"""`neo embed run`: text embedding as a stage of its own, before the catalog worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neo_runtime.cli.catalog import Bootstrap
from neo_runtime.cli.serve import override

ModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--model", help="Model whose codebooks the embedder must fit; none: the demo model.", envvar="NEO_MODEL"
    ),
]
CatalogFolder = Annotated[
    Path | None, typer.Option("--catalog", help="Catalog whose embedder to take, instead of the model's.")
]
EmbedderSpec = Annotated[
    str | None,
    typer.Option(
        "--embedder", help="minilm, lexical:FOLDER or st:NAME; none: that folder's own.", envvar="NEO_EMBEDDER"
    ),
]

app = typer.Typer(help="Text embedding as a stage of its own.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Text embedding as a stage of its own."""


@app.command()
def run(
    model: ModelFolder = None,
    catalog: CatalogFolder = None,
    embedder: EmbedderSpec = None,
    kafka: Bootstrap = None,
) -> None:
    """Embed the item events that carry no embedding, from the items topic to one for `neo catalog run --embedded`.

    As many processes as the topic has partitions share the work.

    neo embed run --kafka broker:9092 --model my-model
    """
    from neo_runtime.observability.logging import configure_logging
    from workers import embedding_worker

    settings = override(model=catalog or model, embedder=embedder, kafka_bootstrap=kafka)
    configure_logging(settings.log_level)
    embedding_worker.run(settings)
