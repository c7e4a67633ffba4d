"""A small model for any catalog, in about two minutes: for `neo demo --data`, to try the runtime on one's own items.

It is trained by the stages of `neo train all`, on a data folder made from the items and from histories (`users.jsonl`:
{"items": ["type/id", …]}, oldest first). Where there are none, items that resemble each other stand in for them. A
taste of what the runtime does with the catalog, not a recommender to judge it by.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.data.dataset import read_dataset
from neo_runtime.data.line import interaction_line
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import read_lines, read_upserts
from neo_runtime.training.recipe import TrainRecipe, checked_recipe
from neo_runtime.training.stages import Training
from neo_runtime.types import ItemKey

STEPS, BATCH_TOKENS = 500, 1_536
FEWEST_ITEMS = 4
MOST_CODES = (4_096, 256)  # of first and last codes
NEIGHBOURS, STAND_INS = 12, 2_000
HISTORIES = ("users.jsonl", "users.jsonl.gz")

History = Sequence[ItemKey]


def quick_model(data: Path, files: Sequence[Path], out: Path, console: Console) -> None:
    """Fit SIDs and a model on `files` and write it to `out`.

    StartupError where there are too few items of a type.
    """
    items = list({item.key: item for item in read_upserts(files)}.values())
    counts = Counter(item.key.type for item in items)
    if min(counts.values(), default=0) < FEWEST_ITEMS:
        raise StartupError(f"{data}: a type has fewer than {FEWEST_ITEMS} items; a model needs as many at least")
    histories = read_histories(data, items) or list(stand_ins(items))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_folder(folder / "data", items, histories)
        recipe = quick_recipe(folder, counts)
        Training(recipe, read_dataset(recipe.data), console).run()
        shutil.copytree(recipe.out, out, ignore=shutil.ignore_patterns("stages"))


def quick_recipe(folder: Path, counts: Counter[str]) -> TrainRecipe:
    """In `folder`. Two or three items for each first code, as many last codes as keep alike items apart."""
    most_first, most_last = MOST_CODES
    levels_of = {
        name: [min(most_first, max(2, count // 3)), min(most_last, max(2, count // 2))]
        for name, count in counts.items()
    }
    return checked_recipe({
        "name": "quick", "data": folder / "data", "out": folder / "model",
        "sids": {"levels_of": levels_of},
        "base": {"width": 96, "layers": 2, "feed_forward": 256},
        "samples": {"order": "raw", "fit": "TV", "search": 2.0, "by_facts": 1.0, "labelled": 1_000},
        "instruct": {"steps": STEPS, "batch_tokens": BATCH_TOKENS, "rate": 4e-3, "dropout": 0.0},
    }, "quick")  # fmt: skip


def write_folder(folder: Path, items: Sequence[Upsert], histories: Sequence[History]) -> None:
    """A data folder (docs/data.md), the items in their order, so that they get the same semantic IDs again."""
    folder.mkdir()
    (folder / "items.jsonl").write_bytes(b"".join((item.source.value or b"") + b"\n" for item in items))
    lines = (interaction_line(f"u{number}", key) for number, history in enumerate(histories) for key in history)
    (folder / "interactions.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def read_histories(data: Path, items: Sequence[Upsert]) -> list[History]:
    """Histories in `data`, items that the catalog does not have left out; none where there is no such file."""
    known = {item.key for item in items}
    path = next((data / name for name in HISTORIES if (data / name).exists()), None)
    if path is None:
        return []
    histories = []
    for number, line in read_lines(str(path)):
        try:
            keys = [ItemKey.parse(key) for key in json.loads(line)["items"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StartupError(f'{path}, line {number}: not {{"items": ["type/id", …]}} ({error})') from error
        histories.append([key for key in keys if key in known])
    return [history for history in histories if len(history) > 1]


def stand_ins(items: Sequence[Upsert]) -> Iterator[History]:
    """Items that resemble one of them, drawn anew for each."""
    texts = [event_text(item) for item in items]
    vectors, random = LexicalEmbedder.fit(texts).embed(texts), np.random.default_rng(0)
    for _ in range(STAND_INS):
        near = np.argsort(-(vectors @ vectors[int(random.integers(len(items)))]))[:NEIGHBOURS]
        count = min(int(random.integers(3, 9)), len(near))
        yield [items[place].key for place in random.choice(near, count, replace=False).tolist()]
