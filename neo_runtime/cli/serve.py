"""`neo serve`: run a generation worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neo_runtime.config import Settings


def serve(
    catalog: Annotated[Path | None, typer.Option(help="Folder of the catalog.", envvar="NEO_CATALOG")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model; none: the demo model.", envvar="NEO_MODEL")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Address to listen on.", envvar="NEO_LISTEN")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …", envvar="NEO_DEVICE")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="auto (the faster one, measured), float32, bfloat16, float16 or int8.", envvar="NEO_DTYPE"),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            help="Recorded evaluation that int8 must pass; none: evaluation.jsonl of the model.", envvar="NEO_GATE"
        ),
    ] = None,
) -> None:
    """Serve a model over gRPC, following the catalog live. SIGTERM drains: running answers finish first."""
    from neo_runtime.observability.logging import configure_logging
    from workers import generation_worker

    settings = override(catalog=catalog, model=model, listen=listen, device=device, dtype=dtype, gate=gate)
    configure_logging(settings.log_level)
    generation_worker.run(settings)


def override(**given: Any) -> Settings:
    """Settings with what the command line gave."""
    return Settings(**{name: value for name, value in given.items() if value is not None})
