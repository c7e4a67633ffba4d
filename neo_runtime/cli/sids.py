"""`neo sids`: semantic IDs of a catalog of one's own, fitted and judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neo_runtime.cli.ask import AsJson
from neo_runtime.cli.catalog import CatalogFolder

if TYPE_CHECKING:
    from neo_runtime.config import Settings
    from neo_runtime.embed import Embedder
    from neo_runtime.sid.report import TypeReport

app = typer.Typer(help="Semantic IDs: fit codebooks on items, and see how good they are.", no_args_is_help=True)

DEFAULT_LEVELS = "256,256,256"


@app.command()
def fit(
    files: Annotated[list[Path], typer.Argument(help="Item files (JSON lines, may be .gz).", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder that the codebooks go to.")],
    levels: Annotated[str, typer.Option(help="Codes per level, for every type.", metavar="K,K,…")] = DEFAULT_LEVELS,
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

    _, reports = fit_catalog(read_upserts(files), _sizes(levels), embedder, out, seed=seed)
    rows = [(*report[:-1], f"{report.mean_squared_error:.4f}") for report in reports]
    table(f"codebooks in {out / 'codebooks'}", ("type", "items", "codebook", "colliding items", "error²"), rows)


@app.command()
def report(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Item files to try settings on; none: the catalog.", exists=True)
    ] = None,
    catalog: CatalogFolder = None,
    codebooks: Annotated[
        Path | None, typer.Option(help="Judge the codebooks of this folder, from `neo sids fit`, on the files.")
    ] = None,
    levels: Annotated[
        list[str] | None, typer.Option(help="Fit codes per level on the files and judge them.", metavar="K,K,…")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="minilm, lexical (fitted on the items), lexical:FOLDER or st:NAME; none: the codebooks' own.",
            envvar="NEO_EMBEDDER",
        ),
    ] = None,
    fitted_at: Annotated[
        str | None,
        typer.Option(
            help="When the codebooks were fitted, as 2026-05-01 (UTC); none: the older half of the items is old."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(help="Items of a type that are embedded again to look at a catalog's embeddings.", min=2)
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the k-means and the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and report.png.")] = None,
    json: AsJson = False,
) -> None:
    """How good semantic IDs are: collisions, use of the codes, coherence of prefixes, error, drift of new items.

    Of a catalog, or to choose settings, of item files: --levels may be given several times.

    neo sids report --catalog .neo/catalog --out report

    neo sids report items.jsonl --levels 32,32,32 --levels 256,256
    """
    from neo_runtime.cli.serve import override
    from neo_runtime.cli.sids_tables import show_reports
    from neo_runtime.observability.logging import configure_logging
    from neo_runtime.sid.report_tables import notes

    if not files and (codebooks or levels):
        raise typer.BadParameter("--codebooks and --levels are tried on item files; name some")
    settings = override(catalog=catalog, embedder=embedder)
    configure_logging(settings.log_level)
    moment = _microseconds(fitted_at)
    if files:
        sizes = [_sizes(text) for text in levels or ([] if codebooks else [DEFAULT_LEVELS])]
        reports, left_out = _of_files(files, codebooks, sizes, settings.embedder, seed, moment)
    else:
        reports, left_out = _of_catalog(settings, sample, seed, moment)
    said = [*left_out, *notes(reports)]
    if out:
        from neo_runtime.sid.report_page import write_report

        write_report(out, reports, said)
    show_reports(reports, said, out, json=json)


def _of_catalog(
    settings: Settings, sample: int, seed: int, fitted_at_us: int | None
) -> tuple[list[TypeReport], list[str]]:
    from neo_runtime.catalog.catalog import open_reader
    from neo_runtime.catalog.quality import report_catalog

    reader, codebooks = open_reader(settings.catalog)
    with closing(reader.store):
        reports = report_catalog(
            reader, codebooks, _embedder_of(settings.catalog, settings.embedder), setting="catalog", sample=sample,
            seed=seed, fitted_at_us=fitted_at_us,
        )  # fmt: skip
        refused = reader.state().counters.get("dead_letters.CODEBOOK_FULL", 0)
    return reports, [f"{refused:,} events were refused since no semantic ID was free: more codes"] if refused else []


def _of_files(
    files: Sequence[Path], codebooks: Path | None, levels: Sequence[Sequence[int]], spec: str, seed: int,
    fitted_at_us: int | None,
) -> tuple[list[TypeReport], list[str]]:  # fmt: skip
    from neo_runtime.catalog.encode import event_text
    from neo_runtime.catalog.quality import report_candidates, report_fitted
    from neo_runtime.embed.lexical import LexicalEmbedder
    from neo_runtime.embed.load import load_embedder
    from neo_runtime.ingest.bulk import read_upserts
    from neo_runtime.sid.codebook import load_codebooks

    items = read_upserts(files)
    embedder: Embedder | None = None
    reports: list[TypeReport] = []
    left_out: list[str] = []
    if codebooks:
        embedder = _embedder_of(codebooks, spec)
        reports = report_fitted(
            items, load_codebooks(codebooks / "codebooks"), embedder, setting=codebooks.resolve().name, seed=seed,
            fitted_at_us=fitted_at_us,
        )  # fmt: skip
    if levels:
        if embedder is None:
            is_fitted = spec in ("", "lexical")
            embedder = LexicalEmbedder.fit([event_text(item) for item in items]) if is_fitted else load_embedder(spec)
        tried, left_out = report_candidates(items, embedder, levels, seed=seed)
        reports += tried
    return reports, left_out


def _embedder_of(folder: Path, spec: str) -> Embedder | None:
    """None, with a warning, where the one that the codebooks were fitted with cannot be had."""
    from neo_runtime.errors import ModelError
    from neo_runtime.ingest.catalogs import embedder_of

    try:
        return embedder_of(folder, spec)
    except ModelError:
        if spec:
            raise
        return None


def _sizes(levels: str) -> list[int]:
    from neo_runtime.sid.space import SidSpace

    try:
        sizes = [int(size) for size in levels.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--levels {levels!r} is not a list of numbers") from error
    try:
        return list(SidSpace(tuple(sizes)).level_sizes)
    except ValueError as error:
        raise typer.BadParameter(f"--levels {levels}: {error}") from error


def _microseconds(moment: str | None) -> int | None:
    if moment is None:
        return None
    try:
        when = datetime.fromisoformat(moment)
    except ValueError as error:
        raise typer.BadParameter(
            f"--fitted-at {moment!r} is no date or time, as 2026-05-01 or 2026-05-01T12:00Z"
        ) from error
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6)
