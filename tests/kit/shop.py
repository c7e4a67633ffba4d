"""A data folder of films and books with words, attributes and users of two tastes, to train on in a test."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

from neo_runtime.data.dataset import read_dataset
from neo_runtime.evaluation.neo import NeoModels
from neo_runtime.training.recipe import checked_recipe
from neo_runtime.training.stages import Training

THEMES = ("space", "war", "love", "ships", "crime", "magic")
NOUNS = ("journey", "night", "garden", "river", "machine", "letter", "island", "winter")
PER_TYPE = 48


def write_shop(folder: Path, *, users: int = 160, seed: int = 0) -> Path:
    """Every other user likes one half of the themes; most of them know films and books."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    items: dict[str, list[int]] = {}
    with (folder / "items.jsonl").open("w") as file:
        for place in range(PER_TYPE):
            for name in ("film", "book"):  # taking turns: lines are not in the order of types
                theme, noun = THEMES[place % len(THEMES)], NOUNS[place % len(NOUNS)]
                line: dict[str, object] = {
                    "type": name, "id": f"{name[0]}{place}", "title": f"The {theme} {noun} {place}",
                    "description": f"A {name} about {theme}.", "attributes": {"genres": [theme, "classic"]},
                }  # fmt: skip
                file.write(json.dumps(line) + "\n")
                items.setdefault(theme, []).append(place)
    with (folder / "interactions.jsonl").open("w") as file:
        for user in range(users):
            liked = [place for place in range(PER_TYPE) if place % len(THEMES) % 2 == user % 2]
            for name in ("film", "book")[: 1 + (user % 3 > 0)]:
                chosen = random.permutation(liked)[: int(random.integers(4, 10))]
                for day, place in enumerate(chosen.tolist()):
                    done = {"user": f"u{user}", "item": f"{name}/{name[0]}{place}", "day": day // 2}
                    file.write(json.dumps(done) + "\n")
    return folder


def trained_shop(folder: Path, samples: dict[str, object], instruct: dict[str, object]) -> Path:
    """`folder` with `data` and, trained on it for a moment, `model`."""
    write_shop(folder / "data")
    recipe = checked_recipe(
        {
            "name": "shop", "data": folder / "data", "out": folder / "model",
            "sids": {"levels": [8, 8], "collaborative": 1.0, "collaborative_dimension": 8},
            "base": {
                "width": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "feed_forward": 64, "text_tokens": 400,
            },
            "samples": samples, "instruct": instruct,
        },
        "test",
    )  # fmt: skip
    Training(recipe, read_dataset(recipe.data), Console(quiet=True)).run()
    return folder


def models_of(folder: Path) -> closing[NeoModels]:
    """What `trained_shop` trained, to be asked."""
    return closing(NeoModels([folder / "model"], folder / "data", read_dataset(folder / "data")))
