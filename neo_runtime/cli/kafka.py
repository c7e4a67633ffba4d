"""`neo kafka dev`: a real Kafka on this machine, from pip alone."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from neo_runtime.cli.show import console

app = typer.Typer(help="A local Kafka for development.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """A local Kafka for development."""


@app.command()
def dev(
    data: Annotated[Path, typer.Option(help="Folder that keeps the broker's data.")] = Path(".neo/kafka"),
    port: Annotated[int, typer.Option(help="Port on loopback; 0: a free one.")] = 9092,
) -> None:
    """Run a single-node Apache Kafka on loopback until interrupted. Not for production.

    Needs `pip install 'neo-runtime[kafka-dev]'`; the first start resolves Kafka itself, about 20 s.
    """
    from neo_runtime.ingest.local_kafka import LocalKafka

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with LocalKafka(data, port=port, progress=lambda line: console.print(f"[dim]{line}[/]")) as broker:
        console.print(f"Kafka on [bold]{broker.bootstrap}[/]; data in {data}. Ctrl-C ends it.")
        console.print(f"Elsewhere: export NEO_KAFKA_BOOTSTRAP={broker.bootstrap}", highlight=False)
        stop.wait()
