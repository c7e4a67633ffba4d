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
    from neo_runtime.catalog.fit import FitReport
    from neo_runtime.config import Settings
    from neo_runtime.embed import Embedder
    from neo_runtime.sid.report import TypeReport

app = typer.Typer(help="Semantic IDs: fit codebooks on items, and see how good they are.", no_args_is_help=True)

DEFAULT_LEVELS = "256,256,256"


@app.command()
def fit(
    files: Annotated[
        list[Path], typer.Argument(help="Item files (JSON lines, may be .gz), or one data folder.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="Folder that the codebooks go to.")],
    levels: Annotated[
        list[str] | None,
        typer.Option(help="Codes per level, for every type or one: 256,256 or film=1024,64.", metavar="[TYPE=]K,K,…"),
    ] = None,
    embedder: Annotated[
        str,
        typer.Option(help="minilm, lexical (fitted on the items), lexical:FOLDER or st:NAME.", envvar="NEO_EMBEDDER"),
    ] = "lexical",
    collaborative: Annotated[
        float,
        typer.Option(help="Data folder: weight of what users say of an item beside its text's 1.", min=0),
    ] = 0.0,
    order: Annotated[
        str, typer.Option(help="Data folder: raw or shuffled, of a user's items of one day.")
    ] = "shuffled",
    fit_on: Annotated[str, typer.Option("--fit", help="Data folder: T, the training part, or TV.")] = "T",
    new_items: Annotated[
        float,
        typer.Option(help="Data folder: share of the items that nothing is fitted on, as samples.new_items.", min=0),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the k-means.")] = 0,
) -> None:
    """Fit one residual k-means codebook per item type (NEO, stage 1).

    Of a data folder, embeddings.npy comes too: the vector of each item line, for `neo catalog load --embeddings`. With
    --collaborative an item's vector is its text beside where users meet it; new items get the second half from their
    text, by the embedder that is written beside the codebooks.

    neo sids fit films.jsonl books.jsonl --levels 64,64,64 --out codebooks

    neo sids fit my-data --collaborative 1 --levels 1024,64 --levels office=256,64 --out my-sids
    """
    from neo_runtime.cli.show import progress, table

    sizes, sizes_of = _sizes_of(levels or [DEFAULT_LEVELS])
    if len(files) == 1 and files[0].is_dir():
        reports = _fit_folder(
            files[0], out, order, fit_on, new_items, levels=sizes, levels_of=sizes_of, embedder=embedder,
            collaborative=collaborative, seed=seed,
        )  # fmt: skip
    elif collaborative:
        raise typer.BadParameter("--collaborative needs interactions: name one data folder, not item files")
    else:
        from neo_runtime.catalog.fit import fit_catalog
        from neo_runtime.ingest.bulk import read_upserts

        _, reports = fit_catalog(
            read_upserts(files), sizes, embedder, out, seed=seed, level_sizes_of=sizes_of, told=progress("embedding")
        )
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


def _fit_folder(
    data: Path, out: Path, order: str, fit_on: str, new_items: float, **fields: object
) -> list[FitReport]:  # fmt: skip
    from neo_runtime.cli.show import progress
    from neo_runtime.data.dataset import read_dataset
    from neo_runtime.data.split import Fit, Order, keep_out
    from neo_runtime.training.recipe import SidsRecipe
    from neo_runtime.training.sids import fit_sids

    if order not in tuple(Order) or fit_on not in tuple(Fit):
        raise typer.BadParameter(f"--order is one of {', '.join(Order)}, --fit one of {', '.join(Fit)}")
    recipe = SidsRecipe.model_validate(fields)
    dataset = keep_out(read_dataset(data), new_items)
    return fit_sids(dataset, recipe, out, order=Order(order), fit=Fit(fit_on), told=progress("embedding"))


def _sizes_of(levels: Sequence[str]) -> tuple[list[int], dict[str, list[int]]]:
    """Of all types, and of single ones."""
    sizes, sizes_of = _sizes(DEFAULT_LEVELS), dict[str, list[int]]()
    for text in levels:
        item_type, equals, numbers = text.rpartition("=")
        if equals:
            sizes_of[item_type] = _sizes(numbers)
        else:
            sizes = _sizes(numbers)
    return sizes, sizes_of


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
