"""Make the demo model: embedder, codebooks, tokenizer, decoder, trained on the demo catalog and its simulated users.

python -m neo_runtime.demo.build            # `make demo-model`: about forty minutes on one core
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.fit import fit_catalog
from neo_runtime.config import DEMO_MODEL, Settings
from neo_runtime.demo.card import write_card
from neo_runtime.demo.samples import FIND_ITEMS, LEARN_ITEMS, DemoSamples, imagine, texts
from neo_runtime.demo.taste import CATALOG, USERS, DemoItem, History, attributes, demo_items, demo_users, user_lines
from neo_runtime.embed.base import item_text
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import EMBEDDER_FOLDER
from neo_runtime.engine import gate
from neo_runtime.ingest.bulk import load_files, read_upserts
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.training.examples import ExampleWriter
from neo_runtime.training.loop import Recipe, train
from neo_runtime.types import ItemKey

NAME = "neo-demo"
NOTE = (
    "A demo model of about a million parameters, trained for minutes on the demo catalog and simulated users. "
    "Its answers show how the runtime works; they are nobody's taste and may be wrong."
)
LEVEL_SIZES = (32, 32, 32)
# Shares of the tasks, part of all steps, learning rate at its peak.
PHASES = ((LEARN_ITEMS, 0.65, 3e-3), (FIND_ITEMS, 0.35, 1e-3))
TEXT_TOKENS = 4_096
SHAPE = DecoderShape(width=128, layers=3, heads=4, key_value_heads=2, feed_forward=384, context_tokens=512)
BATCH_TOKENS = 1_536
IMAGINED_ITEMS = 6_000
HELD_OUT_USERS = 400  # never trained on: the card's figures are theirs


def main(
    out: Annotated[Path, typer.Option(help="Folder that the model goes to; what it holds is replaced.")] = DEMO_MODEL,
    steps: Annotated[int, typer.Option(help="Training steps of about 1,500 tokens.")] = 10_000,
) -> None:
    """Train the demo model on the demo catalog and simulated users, and write its card."""
    console, started = Console(), time.monotonic()
    items = demo_items()
    write_users(items)
    users = demo_users()
    console.print(f"{len(items):,} items, {len(users):,} simulated users")
    shutil.rmtree(out, ignore_errors=True)
    files = sorted(CATALOG.glob("*.jsonl"))
    fit_catalog(read_upserts(files), LEVEL_SIZES, "lexical", out)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(catalog=Path(folder) / "catalog", model=out)
        with closing(open_or_create(settings)) as catalog:
            load_files(catalog, [str(path) for path in files])
            model = fresh_model(catalog, items)
            console.print(f"{sum(p.numel() for p in model.lm.parameters()):,} parameters")
            fit(model, catalog, out, items, users[HELD_OUT_USERS:], steps, console)
            model.lm.to(torch.bfloat16)  # half the size in the repository
            model.save(out)
            write_evaluation(out, users[:HELD_OUT_USERS])
            write_card(out, catalog, items, users[:HELD_OUT_USERS], steps, time.monotonic() - started)
    console.print(f"{out}: done in {(time.monotonic() - started) / 60:.1f} minutes")


def write_users(items: list[DemoItem]) -> None:
    """The released file of simulated users, the same bytes each time."""
    with USERS.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        file.write("".join(user_lines(items)).encode())


def write_evaluation(folder: Path, users: list[History]) -> None:
    """The recorded evaluation: the card's prompts for recommendations, and what came next."""
    lines = [gate.Recorded(user[-1].type, tuple(map(str, user[-9:-1])), next=str(user[-1])) for user in users]
    (folder / gate.FILE).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def fresh_model(catalog: Catalog, items: list[DemoItem]) -> NeoModel:
    """Tokenizer fitted on the demo's texts, random weights."""
    tokenizer = fresh_tokenizer(texts(items), TEXT_TOKENS)
    lm = fresh_decoder(SHAPE, len(tokenizer), end_token=tokenizer.eos_token_id)
    model = NeoModel.extend(NAME, lm, tokenizer, catalog.codebooks)
    return NeoModel(NAME, model.lm, model.tokenizer, model.vocabulary, model.codebooks, NOTE)


def fit(
    model: NeoModel, catalog: Catalog, out: Path, items: list[DemoItem], users: list[History], steps: int,
    console: Console,
) -> None:  # fmt: skip
    """Train in place, with a progress bar."""
    imagined = list(imagine(items, IMAGINED_ITEMS))
    sids = dict(catalog.reader.pin([item.key for item in items]).sids) | quantize(catalog, out, imagined)
    writer = ExampleWriter(model, sids, learn_history=True)
    bar = Progress(
        TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console,
    )  # fmt: skip
    task = bar.add_task("training", total=steps, loss=0.0)

    def show(done: int, total: int, loss: float) -> None:
        bar.update(task, advance=1, loss=loss)
        if not console.is_terminal and done % 250 == 0:
            console.print(f"step {done} of {total}, loss {loss:.3f}")

    with bar:
        for shares, part, rate in PHASES:
            recipe = Recipe(int(steps * part), batch_tokens=BATCH_TOKENS, peak_rate=rate)
            train(model.lm, map(writer.write, DemoSamples(items, users, imagined, shares)), recipe, show)


def quantize(catalog: Catalog, out: Path, items: list[DemoItem]) -> dict[ItemKey, int]:
    """The packed tuples that the codebooks give to items outside the catalog."""
    embedder = LexicalEmbedder.load(out / EMBEDDER_FOLDER)
    sids: dict[ItemKey, int] = {}
    for kind, codebook in catalog.codebooks.items():
        mine = [item for item in items if item.key.type == kind]
        texts = [item_text(item.title, item.description, attributes(item)) for item in mine]
        keys = codebook.space.pack(codebook.encode(embedder.embed(texts))[0])
        sids.update(zip((item.key for item in mine), keys.tolist(), strict=True))
    return sids


if __name__ == "__main__":
    typer.run(main)
