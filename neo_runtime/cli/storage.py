"""`neo catalog info` and `neo catalog verify`: what the catalog's files take, and whether they are whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from neo_runtime.cli import show
from neo_runtime.cli.ask import AsJson
from neo_runtime.cli.catalog import CatalogFolder
from neo_runtime.cli.serve import override


def info(catalog: CatalogFolder = None, json: AsJson = False) -> None:
    """Size of each table, LMDB's map and its readers, segments, schema. Works beside running workers."""
    from neo_runtime.catalog.inspect import inspect

    path = override(catalog=catalog).catalog
    found = inspect(path)
    usage = found.usage
    if json:
        tables = [table._asdict() for table in found.tables]
        measured = {**asdict(usage), "headroom_bytes": usage.headroom_bytes}
        show.as_json({"catalog": str(path), **asdict(found), "tables": tables, "usage": measured})
        return
    show.table(
        f"{path}: generation {found.generation}, schema {found.schema_version}",
        ("table", "entries", "KiB"),
        [(table.table, f"{table.entries:,}", f"{table.bytes / 1024:,.0f}") for table in found.tables],
    )
    rows = [
        ("file", f"{_mib(usage.used_bytes)}, {_mib(usage.free_bytes)} of it free for the next commits"),
        ("map", f"{_mib(usage.map_bytes)}, {_mib(usage.headroom_bytes)} of it head-room; grows by itself"),
        ("segments", f"{_mib(sum(found.segments.values()))} in {len(found.segments)} files"),
        ("disk", f"{_mib(usage.disk_free_bytes)} left"),
        ("readers", f"{usage.readers} of {usage.max_readers}, the oldest {usage.oldest_reader_commits} commits ago"),
    ]
    show.table("storage", ("", ""), rows)


def verify(
    catalog: CatalogFolder = None,
    accept: Annotated[
        bool,
        typer.Option(help="Take a file that was copied while its writer was at work, if all of its pages are whole."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Read every page, segment and record of a catalog that nobody writes; exit code 1 where something is wrong."""
    from neo_runtime.catalog.inspect import verify as problems_of

    path = override(catalog=catalog).catalog
    problems = problems_of(path, accept=accept)
    if json:
        show.as_json({"catalog": str(path), "problems": problems})
    else:
        for problem in problems:
            show.console.print(problem, soft_wrap=True)
        show.console.print(f"{path}: {len(problems)} problems" if problems else f"{path} is whole")
    if problems:
        raise typer.Exit(1)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
