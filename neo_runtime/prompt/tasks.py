"""Tasks in words: how a TaskPrompt is said to the model. Training draws from all wordings, serving uses the first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.types import ItemKey

# {type}: the wanted item type with article; {subject}: the query or item; {history}: the user's items, oldest first.
# Task, type and format stand in these words and nowhere else: that is how a model is steered (NEO, stage 3). Mixed
# tasks have twenty wordings each, as in the paper.
WORDINGS: dict[Task, tuple[str, ...]] = {
    Task.RECOMMEND: (
        "I liked {history}. Recommend {type}.",
        "Recommend {type} for someone who liked {history}.",
        "My favourites: {history}. What is {type} for me?",
        "Suggest {type}, given {history}.",
        "I enjoyed {history}. Pick {type} for me.",
        "Given {history}, what is {type} to try?",
        "After {history}, I want {type}.",
        "{history}: these I liked. Show me {type}.",
        "Find {type} for a fan of {history}.",
        "What would follow {history}? Name {type}.",
        "Someone chose {history}. Propose {type}.",
        "Here is what I had: {history}. I need {type}.",
    ),
    Task.RETRIEVE: (
        "Find {type}: {subject}.",
        "Search for {type} about {subject}.",
        "I am looking for {type}: {subject}.",
        "Show me {type}: {subject}.",
        "{subject}: is there {type} like that?",
        "I want {type} with {subject}.",
        "Look up {type} that fits {subject}.",
        "Which is {type} for {subject}?",
    ),
    Task.EXPLAIN: (
        "I liked {history}. Recommend {type} and say why.",
        "Recommend {type} for someone who liked {history}, and explain.",
        "My favourites: {history}. What is {type} for me, and why?",
        "Suggest {type}, given {history}, and give a reason.",
        "I enjoyed {history}. Name {type} that fits, and tell me why.",
        "Someone liked {history}. Recommend {type} with a short explanation.",
        "Given {history}, which is {type} I should try? Explain.",
        "Pick {type} for me and say why; I liked {history}.",
        "What would you recommend after {history}? I want {type} and a reason.",
        "Here is what I liked: {history}. Suggest {type} and justify it.",
        "{history}: these I liked. Find me {type} and explain the choice.",
        "Choose {type} to follow {history}, and say what they share.",
        "I am in the mood for {type}. I liked {history}. What, and why?",
        "Recommend {type} in a sentence, with the reason, for a fan of {history}.",
        "Based on {history}, recommend {type} and tell me what makes it fit.",
        "After {history}, what is {type} for me? Tell me why in your words.",
        "Which is {type} that goes with {history}? Say why.",
        "Propose {type} to someone whose favourites are {history}, with a reason.",
        "I have {history} already. Suggest {type} and explain the connection.",
        "My taste: {history}. Recommend {type} and describe why I would like it.",
    ),
    Task.UNDERSTAND: (
        "Describe {subject}.",
        "Tell me about {subject}.",
        "What is {subject}?",
    ),
}
# UNDERSTAND with several items: they are a history, and the answer is a profile of its user.
PROFILE_WORDINGS = (
    "Describe the taste of someone who liked {subject}.",
    "What does someone who liked {subject} care about?",
    "I liked {subject}. Describe my taste.",
    "My favourites: {subject}. What do they say about me?",
    "Summarise the interests of a user with {subject}.",
    "What interests does {subject} show?",
    "Given {subject}, what kind of things does this user like?",
    "Write a short profile of someone who chose {subject}.",
    "Who would like {subject}? Describe them.",
    "A user's history: {subject}. Describe the user's interests.",
    "Here is what I liked: {subject}. What am I into?",
    "Profile this user: {subject}.",
    "In words, what do {subject} have in common for this user?",
    "Tell me what someone who enjoyed {subject} looks for.",
    "Explain the taste behind {subject}.",
    "{subject}: what does this person like?",
    "What would you say about the interests of a fan of {subject}?",
    "Describe, in a sentence or two, the preferences shown by {subject}.",
    "From {subject}, infer what I like.",
    "What themes run through {subject}?",
)
# Of what type an item is: said of one item, answered with the type in words (NEO, stage 2).
TYPE_WORDINGS = (
    "What kind of item is {subject}?",
    "What type is {subject}?",
    "Is {subject} one of which kind?",
)
_SLOT = re.compile(r"(\{type\}|\{subject\}|\{history\})")
_WITHOUT_HISTORY = {Task.RECOMMEND: "Recommend {type}.", Task.EXPLAIN: "Recommend {type} and say why."}


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
        words = _WITHOUT_HISTORY[prompt.task]
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
