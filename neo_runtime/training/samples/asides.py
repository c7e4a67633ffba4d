"""Requests amid other words, so that what counts is followed wherever it stands.

People say more than what they ask for, in words that no wording of a task has. A small model that never met such words
takes some for a sign of another task: once many ways to ask for a reason are known, any sentence more looks like one.
Here it meets small talk beside requests and words of items inside them, and none tells it anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from neo_runtime.prompt.message import Conversation, Part
from neo_runtime.prompt.phrases import BEGINNINGS, SENTENCES
from neo_runtime.prompt.tasks import joined
from neo_runtime.prompt.wordings import ALL_WORDINGS, SLOT
from neo_runtime.training.examples import Sample
from neo_runtime.training.samples.by_fact import COUNTS, LIST_WORDINGS
from neo_runtime.training.samples.mixture import Family
from neo_runtime.training.wording import plural
from neo_runtime.types import ItemKey

_WORD = re.compile(r"[^\W\d_]{2,}")
_BETWEEN_WORDS = re.compile(r" |(?<=[.?!])$")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.?!]) |(?<=[.?!])$")
_MOST_SENTENCES, _MOST_WORDS = 2, 6


class Asides:
    """A family, some of whose requests have a sentence or two beside them, a beginning and foreign words in them."""

    def __init__(self, family: Family, words: Sequence[str], share: float) -> None:
        """`words`: what foreign words are drawn from. `share`: of the requests that are changed, 0 to 1."""
        self._family, self._words, self._share = family, words, share

    def __len__(self) -> int:
        return len(self._family)

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        sample = self._family.sample(place, random)
        if random.random() >= self._share:
            return sample
        *before, asked = sample.conversation.turns
        parts = [*asked.parts]
        # Without a history foreign words would be what is searched for.
        has_foreign = bool(self._words) and random.random() < 0.5 and any(isinstance(part, ItemKey) for part in parts)
        if has_foreign:
            length = int(random.integers(_MOST_WORDS)) + 1
            _insert(parts, " ".join(_drawn(self._words, random) for _ in range(length)), _BETWEEN_WORDS, random)
        ahead = [_drawn(BEGINNINGS, random)] if random.random() < 0.3 else []
        for _ in range(int(random.integers(0 if has_foreign else 1, _MOST_SENTENCES + 1))):
            if random.random() < 0.5:
                ahead.insert(0, _drawn(SENTENCES, random))
            else:
                _insert(parts, _drawn(SENTENCES, random), _BETWEEN_SENTENCES, random)
        changed = replace(asked, parts=tuple(joined([*(f"{words} " for words in ahead), *parts])))
        return replace(sample, conversation=Conversation((*before, changed)))


def _insert(parts: list[Part], words: str, between: re.Pattern[str], random: np.random.Generator) -> None:
    """Every wording ends in a sign that sentences end in, so there is a place."""
    texts = [(number, part) for number, part in enumerate(parts) if isinstance(part, str)]
    places = [(number, text, match.end()) for number, text in texts for match in between.finditer(text)]
    number, text, at = places[int(random.integers(len(places)))]
    before = text[:at]
    parts[number] = f"{before}{words} {text[at:]}" if before.endswith(" ") else f"{before} {words}"


def _drawn(words: Sequence[str], random: np.random.Generator) -> str:
    return words[int(random.integers(len(words)))]


def foreign_words(texts: Iterable[str], item_types: Iterable[str]) -> list[str]:
    """Words of items that no wording of a task has, nor a type's name, one or many, each once."""
    types = [name for item_type in item_types for name in (item_type, plural(item_type))]
    said = [*ALL_WORDINGS, *LIST_WORDINGS, *COUNTS.values(), *types]
    own = {word.lower() for text in said for word in _WORD.findall(SLOT.sub("", text))}
    return sorted({word for text in texts for word in _WORD.findall(text) if word.lower() not in own})
