"""What the demo asks: fixed for the demo catalog, made from the items for another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neo_runtime.catalog.item import Upsert
from neo_runtime.ingest.bulk import read_upserts
from neo_runtime.types import ItemKey

QUERY_WORDS = 3
OWN_HISTORY = 3


@dataclass(frozen=True, slots=True)
class Script:
    """A user, a query, and an item that is not in the catalog yet."""

    types: tuple[str, ...]
    history: tuple[ItemKey, ...]
    query: str
    free_prompt: str
    new_item: dict[str, object]
    new_query: str
    new_limit: int
    """How long the list is in which the new item is looked for."""

    @property
    def new_key(self) -> ItemKey:
        return ItemKey(str(self.new_item["type"]), str(self.new_item["id"]))


def demo_script() -> Script:
    """Of the demo catalog."""
    liked = (
        "film/alien-1979",
        "film/blade-runner-1982",
        "film/the-matrix-1999",
        "book/dune-1965",
        "artist/kraftwerk",
    )
    return Script(
        types=("film", "book", "artist"),
        history=tuple(ItemKey.parse(key) for key in liked),
        query="space adventure with robots",
        free_prompt="Recommend three films about war.",
        new_item={
            "type": "film",
            "id": "the-lighthouse-keepers-of-ceres-2031",
            "title": "The Lighthouse Keepers of Ceres",
            "description": "An old robot and a stranded engineer keep a lighthouse burning on a small world "
            "far from every ship.",
            "attributes": {
                "creators": ["Nobody Yet"],
                "year": 2031,
                "genres": ["science fiction", "family"],
                "themes": ["space", "robots", "loneliness", "friendship"],
            },
            "popularity": 0.5,
        },
        new_query="robots in space",
        new_limit=30,
    )


def own_script(files: Sequence[Path], longest_list: int) -> Script:
    """Of any catalog: its most popular items as the history, a copy of one of them as the new item.

    A model that was never shown codes without an item finds the copy late, so the list is as long as a worker allows.
    """
    items = read_upserts(files)
    types = tuple(dict.fromkeys(item.key.type for item in items))
    best = sorted(items, key=lambda item: -item.popularity)
    model = best[0]
    new_item: dict[str, object] = {
        "type": model.key.type,
        "id": f"{model.key.id[:200]}-new-edition",
        "title": f"{model.title[:900]} (new edition)",
        "description": model.description,
        "attributes": dict(model.attributes),
        "popularity": model.popularity,
    }
    history = tuple(item.key for item in best[:OWN_HISTORY])
    return Script(types, history, _words(best[-1]), "", new_item, _words(model), longest_list)


def _words(item: Upsert) -> str:
    return " ".join(item.title.split()[:QUERY_WORDS])
