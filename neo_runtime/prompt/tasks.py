"""Tasks in words: how a TaskPrompt is said to the model. Training draws from all wordings, serving uses the first."""

from __future__ import annotations

import re

from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.types import ItemKey

# {type}: the wanted item type with article; {subject}: the query or item; {history}: the user's items, oldest first.
WORDINGS: dict[Task, tuple[str, ...]] = {
    Task.RECOMMEND: (
        "I liked {history}. Recommend {type}.",
        "Recommend {type} for someone who liked {history}.",
        "My favourites: {history}. What is {type} for me?",
        "Suggest {type}, given {history}.",
    ),
    Task.RETRIEVE: (
        "Find {type}: {subject}.",
        "Search for {type} about {subject}.",
        "I am looking for {type}: {subject}.",
        "Show me {type}: {subject}.",
    ),
    Task.EXPLAIN: (
        "I liked {history}. Recommend {type} and say why.",
        "Recommend {type} for someone who liked {history}, and explain.",
        "My favourites: {history}. What is {type} for me, and why?",
    ),
    Task.UNDERSTAND: (
        "Describe {subject}.",
        "Tell me about {subject}.",
        "What is {subject}?",
    ),
}
_SLOT = re.compile(r"(\{type\}|\{subject\}|\{history\})")
_WITHOUT_HISTORY = {Task.RECOMMEND: "Recommend {type}.", Task.EXPLAIN: "Recommend {type} and say why."}


def with_article(item_type: str) -> str:
    """`a film`, `an artist`: type names are the catalog's own words."""
    return f"an {item_type}" if item_type[:1].lower() in "aeiou" else f"a {item_type}"


def say(prompt: TaskPrompt, history: tuple[ItemKey, ...], wording: int = 0) -> Conversation:
    """The conversation that asks for the task."""
    words = WORDINGS[prompt.task][wording]
    if "{history}" in words and not history:
        words = _WITHOUT_HISTORY[prompt.task]
    fill: dict[str, tuple[Part, ...]] = {
        "{type}": (with_article(prompt.item_type),),
        "{subject}": prompt.subject,
        "{history}": history,
    }
    parts = [part for piece in _SLOT.split(words) for part in fill.get(piece, (piece,))]
    return Conversation((Turn("user", tuple(_joined(parts))),))


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one: how text is cut must not change how it is tokenized."""
    joined: list[Part] = []
    for part in parts:
        if part and isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined
