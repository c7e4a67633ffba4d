"""`neo train`: from a data folder and a decoder to a model that answers in text and in the catalog's items."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neo_runtime.cli import show

if TYPE_CHECKING:
    from neo_runtime.training.recipe import TrainRecipe
    from neo_runtime.training.stages import Training

app = typer.Typer(
    help="Train a model, stage by stage or from one file: align the codes with language, then teach the tasks.\n\n"
    "Stages: `neo sids fit`, `neo train align`, `neo train instruct`; or `neo train all RECIPE`, which does the three. "
    "A run that was stopped goes on where it was when the same command is given again. Several devices: put "
    "`torchrun --nproc-per-node N -m neo_runtime.cli.main` in the place of `neo`.",
    no_args_is_help=True,
)

DataFolder = Annotated[Path, typer.Argument(help="Data folder: items*.jsonl, interactions*.jsonl.", exists=True)]
OutFolder = Annotated[Path, typer.Option(help="Folder that the model goes to; a stopped run goes on in it.")]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="TOML file for everything else; data, out, catalog in it are not looked at.", exists=True
    ),
]
LiveCatalog = Annotated[
    Path | None,
    typer.Option(help="Live catalog whose semantic IDs are learned; none: those that the data folder's items get."),
]
Epochs = Annotated[float | None, typer.Option(help="Passes through the samples.", min=0)]
Steps = Annotated[int | None, typer.Option(help="Steps, instead of epochs.", min=1)]
Rate = Annotated[float | None, typer.Option(help="Learning rate at its peak.")]
Tokens = Annotated[int | None, typer.Option(help="Tokens of a batch.", min=1)]


@app.command("all")
def all_stages(recipe: Annotated[Path, typer.Argument(help="TOML file, as examples/train.toml.", exists=True)]) -> None:
    """All stages from one file: semantic IDs, alignment, instruction tuning. The result is served as it is.

    neo train all examples/train.toml

    neo catalog load my-data/items.jsonl --model my-model --embeddings my-model/embeddings.npy

    neo serve --model my-model
    """
    from neo_runtime.training.recipe import read_recipe

    training = _training(read_recipe(recipe))
    training.run()
    _show_next(training)


@app.command()
def align(
    data: DataFolder,
    sids: Annotated[Path, typer.Option(help="Folder of `neo sids fit`.", exists=True)],
    out: OutFolder,
    base: Annotated[str, typer.Option(help="Decoder: hub id or folder; none: a fresh small one.")] = "",
    recipe: RecipeFile = None,
    catalog: LiveCatalog = None,
    epochs: Epochs = None,
    steps: Steps = None,
    rate: Rate = None,
    batch_tokens: Tokens = None,
) -> None:
    """Stage 2: teach a decoder what the codes mean, both ways, changing nothing but the codes' own rows.

    Items are described, found by their description, and named by type. The language of a pre-trained decoder stays as
    it was, bit for bit. A fresh decoder has no language to keep: all of it is trained.

    neo train align my-data --sids my-sids --base Qwen/Qwen3-0.6B --out aligned
    """
    paths = {"data": data, "out": out, "catalog": catalog}
    found = _given(recipe, paths, "align", epochs=epochs, steps=steps, rate=rate, batch_tokens=batch_tokens)
    if base:
        found["base"] = found.get("base", {}) | {"name": base}
    found |= _sids_of(sids)
    training = _training(_checked(found))
    training.align(training.start(sids), out)


@app.command()
def instruct(
    data: DataFolder,
    source: Annotated[Path, typer.Option("--from", help="Model of `neo train align`.", exists=True)],
    out: OutFolder,
    recipe: RecipeFile = None,
    catalog: LiveCatalog = None,
    epochs: Epochs = None,
    steps: Steps = None,
    rate: Rate = None,
    batch_tokens: Tokens = None,
) -> None:
    """Stage 3: teach the tasks together: recommend, search, explain, describe items and users.

    All weights are trained, or with `trained = "lora"` in the recipe's [instruct] low-rank changes of them.

    neo train instruct my-data --from aligned --out my-model
    """
    paths = {"data": data, "out": out, "catalog": catalog}
    found = _given(recipe, paths, "instruct", epochs=epochs, steps=steps, rate=rate, batch_tokens=batch_tokens)
    found.setdefault("base", _base_of(source))
    found |= _sids_of(source)
    training = _training(_checked(found))
    training.instruct(source, out)
    _show_next(training)


def _given(recipe: Path | None, paths: Mapping[str, Path | None], stage: str, **options: object) -> dict[str, Any]:
    """What the file says, with the options in the place of its fields."""
    from neo_runtime.training.recipe import read_fields

    found = read_fields(recipe) if recipe else {}
    chosen = {name: value for name, value in options.items() if value is not None}
    return found | {**paths, stage: found.get(stage, {}) | chosen}


def _checked(values: dict[str, Any]) -> TrainRecipe:
    from neo_runtime.training.recipe import checked_recipe

    return checked_recipe(values, "recipe")


def _base_of(source: Path) -> dict[str, Any]:
    """What the earlier stage started from, which decides defaults."""
    file = source / "recipe.json"
    base: dict[str, Any] = json_format.loads(file.read_text())["base"] if file.exists() else {"name": str(source)}
    return base


def _sids_of(folder: Path) -> dict[str, Any]:
    """How the semantic IDs there were fitted, whatever the file says of a stage 1 that is not run now."""
    from neo_runtime.training.fitted_on import FittedOn

    fitted_on = FittedOn.read(folder)
    return {"sids": fitted_on.sids.model_dump()} if fitted_on else {}


def _training(recipe: TrainRecipe) -> Training:
    from neo_runtime import heap

    heap.keep()  # before torch: a step's tensors are given back to the system each time otherwise
    from neo_runtime.data.dataset import read_dataset
    from neo_runtime.training.stages import Training

    return Training(recipe, read_dataset(recipe.data), show.console)


def _show_next(training: Training) -> None:
    """On the console of the training, which is quiet in all processes but the first."""
    from neo_runtime.data.dataset import data_files

    recipe, console = training.recipe, training.console
    files = " ".join(str(path) for path in data_files(recipe.data, "items"))
    console.print("Next:", style="bold")
    if recipe.samples.new_items:
        # Loaded all at once, new items could take places of known ones: the SIDs would not be those of training.
        console.print(
            f"  neo evaluate {recipe.data} --out results --neo {recipe.out} --models neo,neo@1,neo-new --new-items "
            f"--no-next-items --orders {recipe.samples.order} --fit {recipe.samples.fit} --search ''",
            soft_wrap=True,
        )
        return
    catalog = recipe.catalog or f"{recipe.out}.catalog"
    if not recipe.catalog:
        console.print(
            f"  neo catalog load {files} --catalog {catalog} --model {recipe.out} "
            f"--embeddings {recipe.out / 'embeddings.npy'}",
            soft_wrap=True,
        )
    console.print(f"  neo serve --catalog {catalog} --model {recipe.out}", soft_wrap=True)
