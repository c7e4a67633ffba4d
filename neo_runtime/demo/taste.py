"""Simulated users of the demo catalog. Nobody's data: every history is drawn from the seeded taste model below.

An item is a vector of its genres, themes and decade, rarer ones heavier, which films, books and artists share. A user's
taste starts as the mean of two items, the first drawn by popularity, the second also by likeness to the first. Then,
item by item: a type is drawn from the user's own mix of types, and an item of it with probability
∝ popularity^0.7 · exp(cosine(taste, item) / 0.06), nothing twice; and taste moves a sixth of the way towards it. So
neighbours in a history share themes, across types too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.item import Upsert
from neo_runtime.ingest.bulk import read_lines, read_upserts
from neo_runtime.types import Attribute, ItemKey

FOLDER = Path(__file__).parent
CATALOG = FOLDER / "catalog"
USERS = FOLDER / "simulated-users.jsonl.gz"
USER_COUNT = 4_000
SHORTEST, LONGEST = 6, 20
SHARPNESS, POPULARITY_POWER, DRIFT = 0.06, 0.7, 1 / 6
DECADE_WEIGHT = 0.5

Vectors = NDArray[np.float64]
History = tuple[ItemKey, ...]


@dataclass(frozen=True, slots=True)
class DemoItem:
    """One item of the demo catalog."""

    key: ItemKey
    title: str
    description: str
    creators: tuple[str, ...]
    year: int
    genres: tuple[str, ...]
    themes: tuple[str, ...]
    popularity: float


def demo_items(folder: Path = CATALOG) -> list[DemoItem]:
    """The catalog, in file order."""
    return [_item(upsert) for upsert in read_upserts(sorted(folder.glob("*.jsonl")))]


def _item(upsert: Upsert) -> DemoItem:
    def texts(name: str) -> tuple[str, ...]:
        value = upsert.attributes[name]
        assert isinstance(value, list), (upsert.key, name)
        return tuple(value)

    year = upsert.attributes["year"]
    assert isinstance(year, int), upsert.key
    return DemoItem(
        upsert.key, upsert.title, upsert.description, texts("creators"), year, texts("genres"), texts("themes"),
        upsert.popularity,
    )  # fmt: skip


def attributes(item: DemoItem) -> dict[str, Attribute]:
    """As the catalog files have them."""
    return {
        "creators": list(item.creators), "year": item.year, "genres": list(item.genres), "themes": list(item.themes)
    }  # fmt: skip


def item_vectors(items: Sequence[DemoItem]) -> Vectors:
    """Unit rows over genres, themes and decades: float64 [items, features]."""
    words = [[*item.genres, *item.themes, f"{item.year // 10}0s"] for item in items]
    counts = Counter(word for row in words for word in row)
    column = {word: place for place, word in enumerate(sorted(counts))}
    vectors = np.zeros((len(items), len(column)))
    for row, features in enumerate(words):
        for word in features:
            weight = DECADE_WEIGHT if word.endswith("0s") else 1.0
            vectors[row, column[word]] = weight * np.log(len(items) / counts[word])
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def simulate(items: Sequence[DemoItem], count: int = USER_COUNT, seed: int = 0) -> Iterator[History]:
    """Histories of `count` users, oldest item first. The same seed gives the same users."""
    random = np.random.default_rng(seed)
    vectors = item_vectors(items)
    popularity = np.array([item.popularity for item in items]) ** POPULARITY_POWER
    kinds = sorted({item.key.type for item in items})
    of_kind = {kind: np.array([row for row, item in enumerate(items) if item.key.type == kind]) for kind in kinds}
    for _ in range(count):
        first = random.choice(len(items), p=popularity / popularity.sum())
        second = _draw(random, np.arange(len(items)), popularity, vectors, vectors[first], [first])
        taste = vectors[[first, second]].mean(axis=0)
        mix = random.dirichlet(np.full(len(kinds), 1.5))
        chosen: list[int] = []
        for _ in range(random.integers(SHORTEST, LONGEST + 1)):
            rows = of_kind[kinds[random.choice(len(kinds), p=mix)]]
            row = _draw(random, rows, popularity, vectors, taste, chosen)
            chosen.append(row)
            taste = (1 - DRIFT) * taste + DRIFT * vectors[row]
        yield tuple(items[row].key for row in chosen)


def _draw(
    random: np.random.Generator, rows: NDArray[np.int64], popularity: Vectors, vectors: Vectors, taste: Vectors,
    taken: list[int],
) -> int:  # fmt: skip
    """One of `rows`, popular and to the taste, that is not taken."""
    weights = popularity[rows] * np.exp(vectors[rows] @ taste / np.linalg.norm(taste) / SHARPNESS)
    weights[np.isin(rows, taken)] = 0
    return int(random.choice(rows, p=weights / weights.sum()))


def user_lines(items: Sequence[DemoItem]) -> Iterator[str]:
    """The released file of simulated users, line by line."""
    for number, history in enumerate(simulate(items), start=1):
        yield json.dumps({"user": f"simulated-{number:04}", "items": [str(key) for key in history]}) + "\n"


def demo_users() -> list[History]:
    """The released simulated users."""
    rows = [json.loads(line)["items"] for _, line in read_lines(str(USERS))]
    return [tuple(ItemKey.parse(key) for key in row) for row in rows]
