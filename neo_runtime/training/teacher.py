"""Who puts explanations and profiles into words: a small protocol, and a teacher of templates that needs no model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.training.journal import add_to_journal, read_journal
from neo_runtime.training.wording import ABOUT, joined, kind_of, values

Progress = Callable[[int, int], None]
_SHOWN_CHARS = 300  # of each item's text, in what a language model is asked
_CHUNK = 64  # labels that a cache waits for before it writes them down


@dataclass(frozen=True, slots=True)
class Ask:
    """Why `target` for somebody with this history, or, without a target, who that is."""

    history: tuple[Upsert, ...]
    target: Upsert | None


class Teacher(Protocol):
    """Asks to texts."""

    @property
    def name(self) -> str:
        """Differs wherever the answers may."""

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        """One for each, in their order."""


def question(ask: Ask) -> str:
    """The ask as a prompt for a language model."""
    liked = "\n".join(f"- {event_text(item)[:_SHOWN_CHARS]}" for item in ask.history)
    if ask.target is None:
        return (
            f"A user liked:\n{liked}\n\nDescribe the user's interests in one or two plain sentences, from these items "
            "alone. Name themes, not titles. Answer with the description only."
        )
    return (
        f"A user liked:\n{liked}\n\nWe recommend:\n- {event_text(ask.target)[:_SHOWN_CHARS]}\n\nSay in one plain "
        "sentence why it fits, from these texts alone, speaking to the user. Answer with the sentence only."
    )


class TemplateTeacher:
    """Facts from attributes: what the target shares with the history, and what the items of a history share.

    Rare values come first, since what nearly all items have explains nothing.
    """

    name = "templates"

    def __init__(self, items: Iterable[Upsert]) -> None:
        self._counts = Counter(fact for item in items for fact in facts(item))

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        return [self._profile(ask) if ask.target is None else self._reason(ask, ask.target) for ask in asks]

    def _reason(self, ask: Ask, target: Upsert) -> str:
        liked = {fact for item in ask.history for fact in facts(item)}
        common = [fact for fact in self._rare_first(facts(target)) if fact in liked]
        own = [fact for fact in self._rare_first(facts(target)) if fact not in liked]
        about = values(target, ABOUT)
        what = kind_of(target) + (f" about {joined(about[:2])}" if about else f" of {joined(own[:2])}" if own else "")
        if not common:
            return f"{what}, liked by people with your taste."
        return f"{what}. You like {joined(common[:2])}."

    def _profile(self, ask: Ask) -> str:
        times = Counter(fact for item in ask.history for fact in facts(item))
        # The share of a value within the history against its share in all: its weight in the taste.
        ordered = sorted(times, key=lambda fact: (-(times[fact] ** 2) / self._counts[fact], fact))
        repeated = [fact for fact in ordered if times[fact] > 1] or ordered
        kinds = Counter(item.key.type for item in ask.history)
        kind = f"{kinds.most_common(1)[0][0]} items" if len(kinds) == 1 else "items of several kinds"
        return f"Likes {joined(repeated[:3])}." if repeated else f"Likes {kind}."

    def _rare_first(self, among: Iterable[str]) -> list[str]:
        return sorted(among, key=lambda fact: (self._counts[fact], fact))


class CachedTeacher:
    """Remembers answers in a file, so that a run that is repeated asks nothing twice. One line of JSON for each."""

    def __init__(self, teacher: Teacher, file: Path) -> None:
        self._teacher, self._file = teacher, file
        self.name = teacher.name
        self._known: dict[str, str] = {line["key"]: line["answer"] for line in read_journal(file)}

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        keys = [self._key(ask) for ask in asks]
        wanted = dict.fromkeys(key for key in keys if key not in self._known)
        by_key = dict(zip(keys, asks, strict=True))
        missing = list(wanted)
        for first in range(0, len(missing), _CHUNK):
            chunk = missing[first : first + _CHUNK]
            found = self._teacher.answers([by_key[key] for key in chunk])
            self._remember(dict(zip(chunk, found, strict=True)))
            progress(first + len(chunk), len(missing))
        return [self._known[key] for key in keys]

    def _remember(self, found: dict[str, str]) -> None:
        self._known |= found
        add_to_journal(self._file, ({"key": key, "answer": answer} for key, answer in found.items()))

    def _key(self, ask: Ask) -> str:
        return hashlib.blake2b(f"{self.name}\n{question(ask)}".encode(), digest_size=16).hexdigest()


def facts(item: Upsert) -> list[str]:
    """Attribute values that are words, each once: of a list as they are, single ones with the attribute's name."""
    found: list[str] = []
    for name, value in sorted(item.attributes.items()):
        if isinstance(value, list):
            found += value
        elif isinstance(value, str) and value.strip():
            found.append(f"{name.replace('_', ' ')} {value}")
    return list(dict.fromkeys(found))
