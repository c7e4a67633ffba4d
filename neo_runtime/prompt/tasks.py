"""Tasks in words: how a TaskPrompt is said to the model. Training draws from all wordings, serving uses the first."""

from __future__ import annotations

from collections.abc import Mapping

from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.prompt.wordings import PROFILE_WORDINGS, SLOT, TYPE_WORDINGS, WITHOUT_HISTORY, WORDINGS
from neo_runtime.types import ItemKey


def with_article(item_type: str) -> str:
    """`a film`, `an artist`: type names are the catalog's own words."""
    return f"an {item_type}" if item_type[:1].lower() in "aeiou" else f"a {item_type}"


def wordings(prompt: TaskPrompt) -> tuple[str, ...]:
    """All that the task may be said with."""
    items = sum(isinstance(part, ItemKey) for part in prompt.subject)
    return PROFILE_WORDINGS if prompt.task is Task.UNDERSTAND and items > 1 else WORDINGS[prompt.task]


def say(prompt: TaskPrompt, history: tuple[ItemKey, ...], wording: int = 0) -> Conversation:
    """The conversation that asks for the task."""
    words = wordings(prompt)[wording]
    if "{history}" in words and not history:
        without = WITHOUT_HISTORY[prompt.task]
        words = without[wording % len(without)]
    fill: dict[str, tuple[Part, ...]] = {
        "{type}": (with_article(prompt.item_type),),
        "{subject}": prompt.subject,
        "{history}": history,
    }
    return _said(words, fill)


def ask_type(item: ItemKey, wording: int = 0) -> Conversation:
    """The conversation that asks of what type the item is."""
    return _said(TYPE_WORDINGS[wording], {"{subject}": (item,)})


def _said(words: str, fill: Mapping[str, tuple[Part, ...]]) -> Conversation:
    parts = [part for piece in SLOT.split(words) for part in fill.get(piece, (piece,))]
    return Conversation((Turn("user", tuple(joined(parts))),))


def joined(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one: how text is cut must not change how it is tokenized."""
    joined: list[Part] = []
    for part in parts:
        if part and isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined
