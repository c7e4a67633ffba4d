"""`neo evaluate`: models on held-out interactions and queries, beside baselines and published figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from neo_runtime.cli import show

if TYPE_CHECKING:
    from neo_runtime.data.dataset import Dataset
    from neo_runtime.evaluation.models import Model
    from neo_runtime.evaluation.results import Results
    from neo_runtime.evaluation.run_search import MakeSearcher
    from neo_runtime.sid.report_tables import TextTable

S = TypeVar("S", bound=StrEnum)
DEFAULT_MODELS = "popularity,item-knn,rules,pctm"

Rankers = Annotated[
    str,
    typer.Option(
        help="Rankers; a+b: two fused; a-new: places kept for new items; neo@1: a bonus of 1 for them; "
        "'': no recommendation.",
        metavar="NAME,…",
    ),
]
Orders = Annotated[
    str, typer.Option(help="Order of a user's items of one day; none: that of the --neo models, else raw,shuffled.")
]
Fits = Annotated[
    str, typer.Option(help="Fitted on train (T), or on train and validation (TV); none: as the --neo models, else T.")
]
NextItems = Annotated[
    bool, typer.Option("--next-items/--no-next-items", help="Ask for the next item among all items.")
]  # fmt: skip


def evaluate(
    data: Annotated[Path, typer.Argument(help="Data folder: items, interactions, queries.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for results.json, report.md and report.html.")],
    models: Rankers = DEFAULT_MODELS,
    neo: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folders of `neo train`, one for each order, fit and seed: ranker and searcher neo.", exists=True
        ),
    ] = None,
    types: Annotated[str, typer.Option(help="Item types; none: all that have interactions.", metavar="TYPE,…")] = "",
    orders: Orders = "",
    fit: Fits = "",
    seeds: Annotated[int, typer.Option(help="Fits of a model that learns from a random start.", min=1)] = 1,
    search: Annotated[
        str, typer.Option(help="Searchers: bm25, dense, or two fused, bm25+dense; '': no search.", metavar="NAME,…")
    ] = "bm25",
    new_items: Annotated[bool, typer.Option("--new-items", help="Ask for items held out of all training too.")] = False,
    next_items: NextItems = True,
    embedder: Annotated[
        str, typer.Option(help="Of content-knn and dense: minilm, lexical:FOLDER or st:NAME.", envvar="NEO_EMBEDDER")
    ] = "minilm",
    again: Annotated[bool, typer.Option("--again", help="Run even what is finished.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Evaluate rankers and searchers, and write one report of all that the folder holds.

    Finished runs stay in the folder and are not run again, so models can be added one after the other.

    neo evaluate my-data --out results

    neo evaluate my-data --out results --models sasrec,pctm+sasrec --fit T,TV --seeds 3

    neo evaluate my-data --out results --neo my-model --models neo,pctm+neo --search bm25,neo
    """
    from neo_runtime import heap

    _check_packages()
    heap.keep()  # before torch: a batch's scores are tens of megabytes, given back to the system each time otherwise
    from neo_runtime.data.dataset import read_dataset
    from neo_runtime.data.split import Fit, Order
    from neo_runtime.evaluation.embeddings import ItemVectors
    from neo_runtime.evaluation.report import write_report
    from neo_runtime.evaluation.results import Results
    from neo_runtime.evaluation.run import Plan, fingerprint
    from neo_runtime.evaluation.run import evaluate as evaluate_rankers
    from neo_runtime.evaluation.run_search import evaluate_search

    plan_orders = _chosen(orders, Order, "--orders") or _of_models(neo, "order") or list(Order)
    plan_fits = _chosen(fit, Fit, "--fit") or _of_models(neo, "fit") or [Fit.T]
    with _bar(quiet=json) as told:
        told(0, 1, f"reading {data}")
        dataset = read_dataset(data)
        results = Results(out, fingerprint(dataset), embedder)
        vectors = ItemVectors(dataset, out, embedder, lambda words: told(0, 1, words))
        chosen = _types(types, dataset)
        say = partial(told, 0, 1)
        with _trained(neo or [], data, dataset, results, again=again, say=say) as (rankers, searchers, check):
            plan = Plan(
                chosen, _names(models), plan_orders, plan_fits, seeds=seeds, next_items=next_items,
                new_items=new_items, again=again, known=rankers,
            )  # fmt: skip
            evaluate_rankers(dataset, plan, results, vectors.of, told)
            evaluate_search(
                dataset, chosen, _names(search), results, vectors, told, known=searchers, again=again
            )  # fmt: skip
            check()
        told(0, 1, "writing the report")
        tables = write_report(out, dataset, results)
    _show(tables, results, out, json=json)


def _show(tables: Sequence[TextTable], results: Results, out: Path, *, json: bool) -> None:
    if json:
        show.as_json(results.as_builtins())
        return
    for table in tables:
        show.table(*table)
        show.console.print()
    show.console.print(f"{out / 'report.html'}, {out / 'report.md'}, {out / 'results.json'}", soft_wrap=True)


@contextmanager
def _trained(
    folders: Sequence[Path], data: Path, dataset: Dataset, results: Results, *, again: bool, say: Callable[[str], None]
) -> Iterator[tuple[Mapping[str, Model], Mapping[str, MakeSearcher], Callable[[], None]]]:
    """The rankers and searchers that there are, with the trained models among them, and the checks of their answers."""
    from neo_runtime.evaluation.models import MODELS, Material, Model
    from neo_runtime.evaluation.run_search import SEARCHERS

    if not folders:
        yield MODELS, SEARCHERS, lambda: None
        return
    from neo_runtime.evaluation.neo import NEO, NeoModels, NeoRanker, NeoSearcher

    with closing(NeoModels(folders, data, dataset)) as models:
        if dropped := models.claim(results):
            show.errors.print(f"{dropped} finished runs were of a model that has been trained again; it is asked anew")

        def ranker(material: Material, bonus: float = 0.0) -> NeoRanker:
            return NeoRanker(models, material.seed, material.say, bonus=bonus)

        yield (
            {**MODELS, NEO: Model(ranker, is_seeded=True, with_bonus=ranker)},
            {**SEARCHERS, NEO: lambda _, item_type: NeoSearcher(models, models.searched(), item_type)},
            lambda: models.check(results, again=again, say=say),
        )


def _check_packages() -> None:
    """The runtime itself needs neither."""
    from importlib.util import find_spec

    from neo_runtime.errors import StartupError

    missing = [name for name in ("scipy", "bm25s") if find_spec(name) is None]
    if missing:
        raise StartupError(f"{' and '.join(missing)} not installed: pip install 'neo-runtime[evaluate]'")


def _types(types: str, dataset: Dataset) -> Sequence[str]:
    known = sorted(dataset.sequences)
    chosen = _names(types) or known
    missing = [name for name in chosen if name not in known]
    if missing:
        raise typer.BadParameter(f"--types {','.join(missing)}: the data has interactions of {', '.join(known)}")
    return chosen


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _chosen(text: str, kind: type[S], option: str) -> list[S]:
    try:
        return [kind(name) for name in _names(text)]
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text}: write {', '.join(kind)}, or several with commas") from error


def _of_models(folders: Sequence[Path] | None, field: Literal["order", "fit"]) -> list[Any]:
    """What they were trained on: nothing else can be asked of them."""
    if not folders:
        return []
    from neo_runtime.evaluation.neo import Trained

    return sorted({getattr(Trained.read(folder).recipe.samples, field) for folder in folders})


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """On standard error; nothing where that is no terminal."""
    columns = (
        SpinnerColumn(),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=show.errors, transient=True, disable=quiet or not show.errors.is_terminal) as bar:
        task = bar.add_task("", total=1)

        def told(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=words)

        yield told
