"""Search queries made from items: what people would type who want one of them, from its title and its categories.

Six kinds. `title`: a few words of the title, in order. `category`: a deep part of its category path with a word or
two of the title. `shuffled`: title words in another order. `partial`: title words with letters dropped, as they are
mistyped. `described`: words of title, attributes and description mixed. `refined`: several steps, first the broad
category, then the narrow one, then words of the title.
A query is drawn from (seed, kind, item) alone, so training and evaluation draw from one builder with other seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.data.dataset import Dataset
from neo_runtime.data.line import Query
from neo_runtime.embed.words import words
from neo_runtime.types import Attribute

EVALUATION_SEED = 2_014
"""Not for training: draw with other seeds, and leave out `held_out_items` where whole items are to be unseen."""
ITEMS_ASKED = 1_000
"""Of each type, and one query of each kind for each."""
CHOSEN_BY = 300
"""Items of each type whose queries constants are chosen on."""
HELD_OUT_OF = 5
"""Of a folder's own queries."""
PATH_ATTRIBUTES = ("categories", "category", "genres", "brand", "author", "artist")
FEWEST_WORDS, MOST_WORDS = 2, 4
_SHORTEST_MISTYPED = 5


class _Facts(NamedTuple):
    """Of one item: words of the title in order, category path from coarse to fine, words of everything."""

    title: Sequence[str]
    path: Sequence[str]
    text: Sequence[str]


Maker = Callable[[_Facts, np.random.Generator], tuple[str, ...]]


def build_queries(
    items: Sequence[Upsert], *, seed: int, kinds: Sequence[str] = (), per_kind: int = 1
) -> Iterator[Query]:
    """For each item `per_kind` queries of each kind that fits it; an item without words gets none."""
    for item in items:
        facts = _facts(item)
        for kind in kinds or tuple(KINDS):
            random = _random(seed, kind, str(item.key))
            for _ in range(per_kind):
                steps = tuple(step for step in KINDS[kind](facts, random) if step)
                if steps:
                    yield Query(steps, (item.key,), kind)


def held_out_items(items: Sequence[Upsert], count: int, *, seed: int = EVALUATION_SEED) -> Sequence[Upsert]:
    """`count` items, the same ones each time, in their order: those that evaluation asks for."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(items))[:count])
    return [items[place] for place in chosen]


class Given(NamedTuple):
    """A folder's own queries of one type: those that training may see, and those that it may not."""

    trained: list[Query]
    held_out: list[Query]


def given_queries(dataset: Dataset, item_type: str) -> Given:
    """By what is asked: one in `HELD_OUT_OF` is held out, with all its answers, however the file grows; every one where
    chance holds out none.
    """
    sides = Given([], [])
    for query in dataset.queries:
        if query.items[0].type == item_type:
            is_held_out = _random("held out", query.text).integers(HELD_OUT_OF) == 0
            (sides.held_out if is_held_out else sides.trained).append(query)
    return sides if sides.held_out else Given([], sides.trained)


def evaluation_queries(dataset: Dataset, item_type: str) -> list[Query]:
    """Of the data folder, held out of training, where it has any of the type; else built, those of a kind together."""
    if given := given_queries(dataset, item_type).held_out:
        return given
    asked = held_out_items(dataset.items[item_type], ITEMS_ASKED)
    return sorted(build_queries(asked, seed=EVALUATION_SEED), key=lambda query: query.kind)


def choosing_queries(dataset: Dataset, item_type: str, items: int = CHOSEN_BY) -> list[Query]:
    """What constants of searchers are chosen on: other items and other draws than `evaluation_queries` builds."""
    every = dataset.items[item_type]
    asked = {item.key for item in held_out_items(every, ITEMS_ASKED)}
    others = [item for item in every if item.key not in asked] or every
    return list(build_queries(held_out_items(others, items), seed=EVALUATION_SEED + 1))


def _title(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    return (" ".join(_some(facts.title, random)),)


def _category(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    """Nothing for an item without categories."""
    if not facts.path:
        return ()
    hint = _some(facts.title, random, fewest=1, most=2)
    return (" ".join((facts.path[-1].lower(), *hint)),)


def _shuffled(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    chosen = _some(facts.title, random)
    return (" ".join(chosen[place] for place in random.permutation(len(chosen))),)


def _partial(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    """One letter of each long word is dropped."""
    return (" ".join(_mistyped(word, random) for word in _some(facts.title, random)),)


def _described(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    return (" ".join(_some(facts.text, random, fewest=3, most=6)),)


def _refined(facts: _Facts, random: np.random.Generator) -> tuple[str, ...]:
    """Broad, narrow, words: each step narrows the one before."""
    path = [facts.path[len(facts.path) // 2], facts.path[-1]] if len(facts.path) > 1 else list(facts.path)
    chosen = _some(facts.title, random)
    half = max(1, len(chosen) // 2)
    steps = [*(part.lower() for part in dict.fromkeys(path)), " ".join(chosen[:half]), " ".join(chosen[half:])]
    return tuple(steps)


KINDS: Mapping[str, Maker] = {
    "title": _title,
    "category": _category,
    "shuffled": _shuffled,
    "partial": _partial,
    "described": _described,
    "refined": _refined,
}


def _facts(item: Upsert) -> _Facts:
    path: list[str] = []
    for name in PATH_ATTRIBUTES:
        path += _texts(item.attributes.get(name))
    return _Facts(words(item.title), path, words(event_text(item)))


def _texts(value: Attribute | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []


def _some(
    among: Sequence[str], random: np.random.Generator, *, fewest: int = FEWEST_WORDS, most: int = MOST_WORDS
) -> list[str]:
    """In their order, each once."""
    distinct = list(dict.fromkeys(among))
    count = min(int(random.integers(fewest, most + 1)), len(distinct))
    return [distinct[place] for place in np.sort(random.permutation(len(distinct))[:count])]


def _mistyped(word: str, random: np.random.Generator) -> str:
    if len(word) < _SHORTEST_MISTYPED:
        return word
    place = int(random.integers(1, len(word)))
    return word[:place] + word[place + 1 :]


def _random(*parts: object) -> np.random.Generator:
    """From the words of `parts`, the same on every machine."""
    digest = hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))
