"""What items are: item to text, text to item, item to type (NEO, stage 2), and search (stage 3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.data.line import Query
from neo_runtime.data.queries import KINDS, build_queries
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.prompt.tasks import ask_type, with_article
from neo_runtime.prompt.wordings import TYPE_WORDINGS
from neo_runtime.training.examples import Sample, task_sample
from neo_runtime.training.wording import describe
from neo_runtime.types import ItemKey

MOST_TEXT_CHARS = 240
_TRIES = 8


def shortened(text: str) -> str:
    """The beginning, cut at a word."""
    return text if len(text) <= MOST_TEXT_CHARS else text[:MOST_TEXT_CHARS].rsplit(" ", 1)[0]


class _OfItems:
    """One sample of each item."""

    def __init__(self, items: Sequence[Upsert]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)


class ItemToText(_OfItems):
    """An item, described."""

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        item = self._items[place]
        prompt = TaskPrompt(Task.UNDERSTAND, "", (item.key,))
        return task_sample(random, prompt, (), (shortened(describe(item)),), context_items=1)


class TextToItem(_OfItems):
    """An item, looked for by its title alone or by its description."""

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        item = self._items[place]
        text = shortened(event_text(item)).rstrip(".") if random.random() < 0.5 else item.title
        return task_sample(random, TaskPrompt(Task.RETRIEVE, item.key.type, (text,)), (), (item.key,))


class ItemToType(_OfItems):
    """An item, and its type in words."""

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        item = self._items[place]
        wording = int(random.integers(len(TYPE_WORDINGS)))
        return Sample(ask_type(item.key, wording), (with_article(item.key.type),), context_items=1)


class Search(_OfItems):
    """Queries of all kinds, in one step and in several, made anew each time. `evaluated`: texts never among them."""

    def __init__(self, items: Sequence[Upsert], evaluated: Collection[str] = ()) -> None:
        super().__init__(items)
        self._kinds, self._evaluated = tuple(KINDS), frozenset(evaluated)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        item = self._items[place]
        text = item.title
        for _ in range(_TRIES):
            kind = self._kinds[int(random.integers(len(self._kinds)))]
            made = next(build_queries([item], seed=int(random.integers(2**62)), kinds=[kind]), None)
            if made is not None and made.text not in self._evaluated:
                text = made.text
                break
        return task_sample(random, TaskPrompt(Task.RETRIEVE, item.key.type, (text,)), (), (item.key,))


class GivenSearch:
    """What users really typed, and one of the items that were right."""

    def __init__(self, queries: Sequence[Query], known: Collection[ItemKey]) -> None:
        """Answers that are not `known` are none."""
        right = ((query.text, [key for key in query.items if key in known]) for query in queries)
        self._searches = [(text, keys) for text, keys in right if keys]

    def __len__(self) -> int:
        return len(self._searches)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        text, keys = self._searches[place]
        key = keys[int(random.integers(len(keys)))]
        return task_sample(random, TaskPrompt(Task.RETRIEVE, key.type, (text,)), (), (key,))
