"""Make the demo model: data folder, the stages of `neo train all`, figures, and what is shipped.

python -m neo_runtime.demo.build            # `make demo-model`: some 35 minutes of one core
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer
from rich.console import Console

from neo_runtime import heap
from neo_runtime.config import DEMO_MODEL
from neo_runtime.data.dataset import read_dataset
from neo_runtime.demo.data import held_out_users, write_data
from neo_runtime.demo.figures import measure
from neo_runtime.demo.taste import FOLDER, USERS, DemoItem, History, demo_items, user_lines
from neo_runtime.embed.load import EMBEDDER_FOLDER
from neo_runtime.engine import gate
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.card import write_card
from neo_runtime.training.recipe import TrainRecipe, read_recipe
from neo_runtime.training.sids import EMBEDDINGS_FILE
from neo_runtime.training.stages import Training

RECIPE = FOLDER / "recipe.toml"
NOTE = (
    "A demo model of under a million parameters, trained for minutes on the demo catalog and simulated users. "
    "Its answers show how the runtime works; they are nobody's taste and may be wrong."
)
ABOUT = """## What it is, and is not

Data: the demo catalog (CC0, written by the project), items imagined from it so that words have codes beyond the items
that exist (`neo_runtime/demo/data.py`), and simulated users (`neo_runtime/demo/taste.py`). No real user, no text of
others. `make demo-model` makes it by `neo_runtime/demo/recipe.toml`.

Limits: English, one line at a time. Facts in longer texts may be wrong, a reason may name what only one of two items
has, and exact title words are found far better by any text search; the table says how much better.

## Quality
"""
RECORDED_HISTORY = 8


def main(
    out: Annotated[Path, typer.Option(help="Folder that the model goes to; what it holds is replaced.")] = DEMO_MODEL,
    work: Annotated[Path, typer.Option(help="Data and stages; a stopped run goes on in it.")] = Path(".neo/demo-model"),
) -> None:
    """Train the demo model as `neo train all` does, measure it, and write what is shipped."""
    heap.keep()
    console, items = Console(), demo_items()
    write_users(items)
    recipe = read_recipe(RECIPE).model_copy(update={"data": work / "data", "out": work / "trained"})
    write_data(recipe.data)
    Training(recipe, read_dataset(recipe.data), console).run()
    model = NeoModel.load(recipe.out)
    model.lm.to(torch.bfloat16)  # half the size in the repository; measured as it is shipped
    replace(model, note=NOTE).save(recipe.out)
    (recipe.out / EMBEDDINGS_FILE).unlink(missing_ok=True)  # of imagined items too: a demo catalog embeds its own
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), imagined=0, with_held_out=True)
        figures = measure(recipe.out, Path(folder), lambda what: console.print(f"measured: {what}"))
    ship(recipe, out, figures, held_out_users(items))
    console.print(f"{out}: done")


def write_users(items: Sequence[DemoItem]) -> None:
    """The released file of simulated users, the same bytes each time."""
    with USERS.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        file.write("".join(user_lines(items)).encode())


def ship(recipe: TrainRecipe, out: Path, figures: Sequence[str], users: Sequence[History]) -> None:
    """What serving needs, the recorded evaluation and the card."""
    shutil.rmtree(out, ignore_errors=True)
    model = NeoModel.load(recipe.out, dtype=torch.bfloat16)
    model.save(out)
    shutil.copytree(recipe.out / EMBEDDER_FOLDER, out / EMBEDDER_FOLDER)
    write_evaluation(out, users)
    write_card(out, recipe, model, [*ABOUT.splitlines(), *figures])


def write_evaluation(folder: Path, users: Sequence[History]) -> None:
    """The recorded evaluation that the gate before int8 asks: the last items of users, and what came next."""
    lines = [
        gate.Recorded(user[-1].type, tuple(map(str, user[-1 - RECORDED_HISTORY : -1])), next=str(user[-1]))
        for user in users
    ]
    (folder / gate.FILE).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


if __name__ == "__main__":
    typer.run(main)
