"""`neo embed run`: text embedding as a stage of its own, before the catalog worker."""

from __future__ import annotations

import typer

from neo_runtime.cli.catalog import Bootstrap, EmbedderSpec, ModelFolder
from neo_runtime.cli.serve import override

app = typer.Typer(help="Text embedding as a stage of its own.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Text embedding as a stage of its own."""


@app.command()
def run(model: ModelFolder = None, embedder: EmbedderSpec = None, kafka: Bootstrap = None) -> None:
    """Embed the item events that carry no embedding, from the items topic to one for `neo catalog run --embedded`.

    As many processes as the topic has partitions share the work. --model: whose codebooks the embedder must fit.

    neo embed run --kafka broker:9092 --model my-model
    """
    from neo_runtime.observability.logging import configure_logging
    from workers import embedding_worker

    settings = override(model=model, embedder=embedder, kafka_bootstrap=kafka)
    configure_logging(settings.log_level)
    embedding_worker.run(settings)
