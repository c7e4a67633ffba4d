"""The demo's catalog and simulated users as a data folder (docs/data.md): what its model is trained and measured on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from neo_runtime.data.line import SECONDS_OF_A_DAY, interaction_line
from neo_runtime.demo.taste import CATALOG, DemoItem, History, attributes, demo_items, demo_users, simulate
from neo_runtime.types import ItemKey

HELD_OUT = "held-out"
HELD_OUT_USERS, HELD_OUT_SEED = 400, 1
IMAGINED_ITEMS = 1_400
_IMAGINED_SEED = 0
_THEMES = 4


def write_data(folder: Path, *, imagined: int = IMAGINED_ITEMS, with_held_out: bool = False) -> None:
    """Items and interactions. `with_held_out`: of users that no model is trained on too, to ask models about them.

    The catalog's items stand first, so an item gets the semantic ID here that it gets where nothing was imagined.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "items-1-catalog.jsonl").open("wb") as file:
        for path in sorted(CATALOG.glob("*.jsonl")):
            with path.open("rb") as source:
                shutil.copyfileobj(source, file)
    items = demo_items()
    if imagined:
        _write(folder / "items-2-imagined.jsonl", map(_item_line, imagine(items, imagined)))
    _write(folder / "interactions-1.jsonl", _lines("simulated", demo_users()))
    if with_held_out:
        _write(folder / "interactions-2.jsonl", _lines(HELD_OUT, held_out_users(items)))


def held_out_users(items: Sequence[DemoItem]) -> list[History]:
    """Of the same taste model, from another seed."""
    return list(simulate(items, HELD_OUT_USERS, HELD_OUT_SEED))


def imagine(items: Sequence[DemoItem], count: int, seed: int = _IMAGINED_SEED) -> Iterator[DemoItem]:
    """Items that could be: the year of one, and themes of it and of another that shares one with it. Nobody describes
    them: what is learned by heart is true.

    They teach what words mean in codes beyond the items that exist.
    """
    random = np.random.default_rng(seed)
    by_theme: dict[tuple[str, str], list[DemoItem]] = {}
    for item in items:
        for theme in item.themes:
            by_theme.setdefault((item.key.type, theme), []).append(item)
    for number in range(count):
        one = items[int(random.integers(len(items)))]
        like_it = by_theme[one.key.type, one.themes[random.integers(len(one.themes))]]
        other = like_it[int(random.integers(len(like_it)))]
        themes = list(dict.fromkeys((*one.themes, *other.themes)))
        chosen = tuple(themes[place] for place in random.permutation(len(themes))[:_THEMES])
        yield DemoItem(
            ItemKey(one.key.type, f"imagined-{number}"), " and ".join(chosen[:2]).capitalize(), description="",
            creators=(), year=one.year, genres=tuple(dict.fromkeys((one.genres[0], other.genres[0]))), themes=chosen,
            popularity=0.0,
        )  # fmt: skip


def _item_line(item: DemoItem) -> bytes:
    return msgspec.json.encode({
        "type": item.key.type, "id": item.key.id, "title": item.title, "description": item.description,
        "attributes": attributes(item),
    })  # fmt: skip


def _lines(name: str, users: Iterable[History]) -> Iterator[bytes]:
    """One item a day: taste drifts, so the order across types is worth keeping."""
    for number, history in enumerate(users, start=1):
        for day, key in enumerate(history):
            yield interaction_line(f"{name}-{number:04}", key, time_s=day * SECONDS_OF_A_DAY)


def _write(path: Path, lines: Iterable[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
