"""`neo catalog …` and `neo items …`: fill a catalog, keep it up to date, see what was refused."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from neo_runtime.cli import show
from neo_runtime.cli.ask import AsJson
from neo_runtime.cli.serve import override

app = typer.Typer(help="Fill a catalog, keep it up to date, see what was refused.", no_args_is_help=True)
items = typer.Typer(help="Publish item events.", no_args_is_help=True)

CatalogFolder = Annotated[Path | None, typer.Option("--catalog", help="Folder of the catalog.", envvar="NEO_CATALOG")]
ModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--model", help="Model whose codebooks a new catalog takes; none: the demo model.", envvar="NEO_MODEL"
    ),
]
EmbedderSpec = Annotated[
    str | None,
    typer.Option(
        "--embedder", help="minilm, lexical:FOLDER or st:NAME; none: the catalog's own.", envvar="NEO_EMBEDDER"
    ),
]
Bootstrap = Annotated[
    str | None, typer.Option("--kafka", help="Kafka brokers, host:port.", envvar="NEO_KAFKA_BOOTSTRAP")
]


@app.command()
def load(
    files: Annotated[list[str], typer.Argument(help="Item files (JSON lines, may be .gz; - is standard input).")],
    catalog: CatalogFolder = None,
    model: ModelFolder = None,
    codebooks: Annotated[Path | None, typer.Option(help="Codebooks of a new catalog, from `neo sids fit`.")] = None,
    embedder: EmbedderSpec = None,
    policy: Annotated[
        str, typer.Option(help="Several items on one semantic ID: nearest-free, share or canonical.")
    ] = "nearest-free",
    embeddings: Annotated[
        Path | None, typer.Option(help="Embeddings of all lines: a .npy file of float32, row i for line i.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Load item files into a catalog, which is made where there is none. Loading again changes nothing.

    neo catalog load films.jsonl books.jsonl --catalog .neo/catalog

    Into an empty catalog by the million: neo catalog load items.jsonl --embeddings items.npy
    """
    from neo_runtime.catalog.bulk_lines import Phases
    from neo_runtime.catalog.inspect import table_sizes
    from neo_runtime.ingest.bulk import load_files
    from neo_runtime.ingest.catalogs import open_or_create

    settings = override(catalog=catalog, model=model, embedder=embedder)
    with closing(open_or_create(settings, source=codebooks, policy=policy)) as opened:
        phases = Phases(partial(show.progress, quiet=json))
        totals = load_files(opened, files, phases, embeddings=embeddings)
        with opened.store.read() as txn:
            sizes = table_sizes(txn)
    if json:
        seconds = {name: round(value, 3) for name, value in phases.seconds.items()}
        show.as_json({**totals, "seconds": seconds, "table_bytes": {size.table: size.bytes for size in sizes}})
    else:
        show.console.print(
            f"{settings.catalog}: " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in totals.items() if n)
        )
    if totals["dead_letters"]:
        show.errors.print(f"{totals['dead_letters']} lines were refused; `neo catalog dead-letters` names the reasons")


@app.command()
def run(
    catalog: CatalogFolder = None,
    model: ModelFolder = None,
    embedder: EmbedderSpec = None,
    kafka: Bootstrap = None,
    role: Annotated[
        str | None,
        typer.Option(help="With Kafka: assigner (one at a time, further ones stand by) or replica.", envvar="NEO_ROLE"),
    ] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Read what `neo embed run` writes.")] = False,
) -> None:
    """Keep a catalog up to date: from Kafka, or without a broker from what `neo items publish` appends.

    neo catalog run --kafka broker:9092 --role replica --catalog /srv/neo/catalog
    """
    from neo_runtime.observability.logging import configure_logging
    from workers import catalog_worker

    settings = override(catalog=catalog, model=model, embedder=embedder, kafka_bootstrap=kafka, role=role)
    if embedded:
        settings = settings.model_copy(update={"items_topic": settings.embedded_topic})
    configure_logging(settings.log_level)
    catalog_worker.run(settings)


@items.command()
def publish(
    files: Annotated[list[str], typer.Argument(help="Item files (JSON lines; - is standard input).")],
    catalog: CatalogFolder = None,
    kafka: Bootstrap = None,
    json: AsJson = False,
) -> None:
    """Publish items, or deletions (`"deleted": true`), to a running catalog worker.

    To Kafka where --kafka or NEO_KAFKA_BOOTSTRAP is given, else to the event file of the catalog in --catalog.
    Every line is checked first: one bad line, and nothing is published.

    echo '{"type":"film","id":"mine","title":"Mine","description":"…"}' | neo items publish -
    """
    from neo_runtime.ingest.bulk import publish_files

    settings = override(catalog=catalog, kafka_bootstrap=kafka)
    published = publish_files(settings, files)
    if json:
        show.as_json(published)
    else:
        show.console.print(f"published {published['events']:,} events to {published['to']}")
