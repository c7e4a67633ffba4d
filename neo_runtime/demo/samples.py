"""The demo's tasks as samples: recommend, search, describe, recommend and say why, and lists in running text.

Wordings of the prompts are the runtime's own (`prompt/tasks.py`); the answers are templates filled from item facts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from neo_runtime.demo.taste import DemoItem, History
from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.prompt.tasks import WORDINGS, with_article
from neo_runtime.training.examples import Sample, task_sample
from neo_runtime.types import ItemKey

LONGEST_HISTORY = 8
QUERY_FORMS = ("{} {}", "{} and {}", "{}, {}", "{} with {}", "{} about {}", "{} in {}")
COUNTS = {2: "two", 3: "three"}
Shares = Mapping[str, int]
"""Task to its part of all samples."""
# What items are is learned first, by describing them; finding them is easier then.
LEARN_ITEMS: Shares = {"recommend": 27, "retrieve": 28, "describe": 25, "explain": 14, "list": 6}
FIND_ITEMS: Shares = {"recommend": 21, "retrieve": 42, "describe": 19, "explain": 13, "list": 5}
# Of searches: for an item that no catalog has. They teach what words mean in codes beyond the items that exist, so
# that an item published after the training can be found.
IMAGINED_SHARE = 0.2
_CONTENT_WORD = re.compile(r"[^\W\d_]{4,}")


class DemoSamples:
    """An endless stream of samples of items, users and imagined items; the same seed gives the same stream."""

    def __init__(
        self, items: Sequence[DemoItem], users: Sequence[History], imagined: Sequence[DemoItem] = (),
        shares: Shares = FIND_ITEMS, seed: int = 0,
    ) -> None:  # fmt: skip
        self._items, self._users, self._imagined = list(items), list(users), list(imagined)
        self._by_key: Mapping[ItemKey, DemoItem] = {item.key: item for item in items}
        self._shares = shares
        self._random = np.random.default_rng(seed)
        weights = np.sqrt([item.popularity for item in items])
        self._weights = weights / weights.sum()
        self._by_theme = _by_theme(items)
        self._themes = sorted(self._by_theme)

    def __iter__(self) -> Iterator[Sample]:
        makers: dict[str, Callable[[], Sample]] = {
            "recommend": self.recommend, "retrieve": self.retrieve, "describe": self.describe,
            "explain": self.explain, "list": self.list_of_theme,
        }  # fmt: skip
        names, parts = list(self._shares), np.array(list(self._shares.values()))
        chances = parts / parts.sum()
        while True:
            yield makers[names[self._random.choice(len(names), p=chances)]]()

    def recommend(self) -> Sample:
        """The next item of a user, for the items before it; now and then for none."""
        history, target = self._next_item(shortest=0)
        return self._said(Task.RECOMMEND, target.key.type, (), history, (target.key,))

    def retrieve(self) -> Sample:
        """An item for words that fit it."""
        item = self._some_item()
        if self._imagined and self._random.random() < IMAGINED_SHARE:
            item = self._imagined[self._random.integers(len(self._imagined))]
        return self._said(Task.RETRIEVE, item.key.type, (self.query(item),), (), (item.key,))

    def describe(self) -> Sample:
        """An item in words."""
        item = self._items[self._random.integers(len(self._items))]
        return self._said(Task.UNDERSTAND, "", (item.key,), (), (describe(item),))

    def explain(self) -> Sample:
        """The next item of a user and why: what it shares with the history."""
        while True:
            history, target = self._next_item(shortest=1)
            common = shared([self._by_key[key] for key in history], target)
            if common:
                break
        answer = ("Try ", target.key, because(target, common))
        return self._said(Task.EXPLAIN, target.key.type, (), history, answer)

    def list_of_theme(self) -> Sample:
        """Two or three items about something, in a sentence."""
        while True:
            theme = self._themes[self._random.integers(len(self._themes))]
            kind = ("artist", "book", "film")[self._random.integers(3)]
            count = int(self._random.choice(list(COUNTS)))
            items = self._by_theme[theme].get(kind, [])
            if len(items) > count:
                break
        weights = np.array([item.popularity for item in items])
        chosen = [
            items[i].key for i in self._random.choice(len(items), count, replace=False, p=weights / weights.sum())
        ]
        asked = f"Recommend {COUNTS[count]} {kind}s about {theme}."
        listed = [part for key in chosen[:-1] for part in (key, ", ")][:-1]
        answer: tuple[Part, ...] = (f"Here are {COUNTS[count]} about {theme}: ", *listed, " and ", chosen[-1], ".")
        return Sample(Conversation((Turn("user", (asked,)),)), answer)

    def query(self, item: DemoItem) -> str:
        """Words that somebody might look for the item with."""
        form = self._random.random()
        if form < 0.5:
            return self._features(item)
        if form < 0.65:
            content = _CONTENT_WORD.findall(item.description.lower())
            places = sorted(self._random.choice(len(content), min(len(content), 3), replace=False).tolist())
            return " ".join(content[place] for place in places)
        if form < 0.9 and item.title:
            return item.title if self._random.random() < 0.5 else item.title.lower()
        if not item.creators:
            return self._features(item)
        return f"{item.creators[0]} {item.genres[0]}" if self._random.random() < 0.5 else item.creators[0]

    def _features(self, item: DemoItem) -> str:
        words = [*item.genres, *item.themes]
        count = int(self._random.integers(1, min(5, len(words) + 1)))
        chosen = [words[place] for place in self._random.choice(len(words), count, replace=False)]
        if self._random.random() < 0.1:
            chosen[-1] = f"{item.year // 10}0s"
        text: str = chosen[0]
        for word in chosen[1:]:
            text = QUERY_FORMS[self._random.integers(len(QUERY_FORMS))].format(text, word)
        return text

    def _next_item(self, *, shortest: int) -> tuple[History, DemoItem]:
        user = self._users[self._random.integers(len(self._users))]
        place = int(self._random.integers(max(1, shortest), len(user)))
        length = int(self._random.integers(1, LONGEST_HISTORY + 1))
        history = user[max(0, place - length) : place]
        if shortest == 0 and self._random.random() < 0.03:
            return (), self._some_item()
        return history, self._by_key[user[place]]

    def _some_item(self) -> DemoItem:
        return self._items[self._random.choice(len(self._items), p=self._weights)]

    def _said(
        self, task: Task, item_type: str, subject: tuple[Part, ...], history: History, answer: tuple[Part, ...]
    ) -> Sample:
        return task_sample(self._random, TaskPrompt(task, item_type, subject), history, answer)


def describe(item: DemoItem) -> str:
    """What the demo model says of an item."""
    genre = with_article(item.genres[0])
    if item.key.type == "artist":
        return f"{item.title}: {genre} artist since {item.year}, on {_joined(item.themes)}. {item.description}"
    by = _joined(item.creators)
    return (
        f"{item.title} ({item.year}): {genre} {item.key.type} by {by} about {_joined(item.themes)}. {item.description}"
    )


def because(target: DemoItem, common: Sequence[str]) -> str:
    """The reason after a recommended item: its facts, and what it shares with the items that were liked."""
    kind = f"{with_article(target.genres[0])} {target.key.type}"
    return f": {kind} about {_joined(target.themes[:2])}. You like {_joined(common[:2])}."


def shared(liked: Sequence[DemoItem], target: DemoItem) -> list[str]:
    """Themes and genres of the target that liked items have too, those of most items first."""
    counts = Counter(word for item in liked for word in (*item.themes, *item.genres))
    return sorted((word for word in (*target.themes, *target.genres) if counts[word]), key=lambda word: -counts[word])


def imagine(items: Sequence[DemoItem], count: int, seed: int = 0) -> Iterator[DemoItem]:
    """Items that could be: the facts of one, some themes and the description of another that shares a theme with it."""
    random = np.random.default_rng(seed)
    by_theme = _by_theme(items)
    for number in range(count):
        one = items[int(random.integers(len(items)))]
        theme = one.themes[random.integers(len(one.themes))]
        like_it = by_theme[theme][one.key.type]
        other = like_it[int(random.integers(len(like_it)))]
        themes = list(dict.fromkeys((*one.themes, *other.themes)))
        chosen = [themes[place] for place in random.permutation(len(themes))[:4]]
        genres = tuple(dict.fromkeys((one.genres[0], other.genres[0])))
        key = ItemKey(one.key.type, f"imagined-{number}")
        yield replace(other, key=key, genres=genres, themes=tuple(chosen), year=one.year, title="", creators=())


def texts(items: Sequence[DemoItem]) -> Iterator[str]:
    """Everything that the demo model reads and writes, for its tokenizer."""
    for item in items:
        yield describe(item)
        yield because(item, item.themes)
        yield from (item.title, item.title.lower(), " ".join(item.genres + item.themes), item.description.lower())
    for wordings in WORDINGS.values():
        yield from wordings


def _by_theme(items: Sequence[DemoItem]) -> dict[str, dict[str, list[DemoItem]]]:
    found: dict[str, dict[str, list[DemoItem]]] = {}
    for item in items:
        for theme in item.themes:
            found.setdefault(theme, {}).setdefault(item.key.type, []).append(item)
    return found


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
