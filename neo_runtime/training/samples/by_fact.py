"""What users ask for by attribute values: a search for one item, and lists of several items in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neo_runtime.catalog.item import Upsert
from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.training.examples import Sample, task_sample
from neo_runtime.training.wording import plural
from neo_runtime.types import ItemKey

LIST_WORDINGS = (
    "Recommend {count} {types} about {fact}.",
    "Name {count} {types} about {fact}.",
    "I want {count} {types} about {fact}.",
    "Which {count} {types} about {fact} should I know?",
)
COUNTS = {2: "two", 3: "three", 4: "four"}
_FORMS = ("{} {}", "{} and {}", "{}, {}", "{} with {}", "{} about {}", "{} in {}")
_MOST_FACTS = 4


def listed_facts(item: Upsert) -> Sequence[str]:
    """Values of the attributes that are lists, each once: genres, themes and the like."""
    lists = [value for _, value in sorted(item.attributes.items()) if isinstance(value, list)]
    return list(dict.fromkeys(fact for value in lists for fact in value))


class SearchByFacts:
    """An item, looked for by one to four of its attribute values in running words."""

    def __init__(self, items: Sequence[Upsert]) -> None:
        told = ((item.key, listed_facts(item)) for item in items)
        self._items = [(key, facts) for key, facts in told if facts]

    def __len__(self) -> int:
        return len(self._items)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        key, facts = self._items[place]
        count = int(random.integers(1, min(_MOST_FACTS, len(facts)) + 1))
        chosen = [facts[at] for at in random.permutation(len(facts))[:count]]
        text = chosen[0]
        for fact in chosen[1:]:
            text = _FORMS[int(random.integers(len(_FORMS)))].format(text, fact)
        return task_sample(random, TaskPrompt(Task.RETRIEVE, key.type, (text,)), (), (key,))


class Lists:
    """Two to four items that share a value, named in a sentence; popular ones more often."""

    def __init__(self, items: Sequence[Upsert]) -> None:
        sharing: dict[str, list[Upsert]] = {}
        for item in items:
            for fact in listed_facts(item):
                sharing.setdefault(fact, []).append(item)
        self._facts = [(fact, of_fact) for fact, of_fact in sorted(sharing.items()) if len(of_fact) > min(COUNTS)]

    def __len__(self) -> int:
        return len(self._facts)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        fact, items = self._facts[place]
        counts = [count for count in COUNTS if count < len(items)]
        count = counts[int(random.integers(len(counts)))]
        weights = np.array([max(item.popularity, 1e-3) for item in items])
        drawn = random.choice(len(items), count, replace=False, p=weights / weights.sum())
        keys = [items[at].key for at in drawn.tolist()]
        words = LIST_WORDINGS[int(random.integers(len(LIST_WORDINGS)))]
        asked = words.format(count=COUNTS[count], types=plural(items[0].key.type), fact=fact)
        said = f"Here are {COUNTS[count]} about {fact}: "
        return Sample(Conversation((Turn("user", (asked,)),)), (said, *_enumerated(keys), "."))


def _enumerated(keys: Sequence[ItemKey]) -> list[Part]:
    listed: list[Part] = [keys[0]]
    for key in keys[1:-1]:
        listed += [", ", key]
    return [*listed, " and ", keys[-1]]
