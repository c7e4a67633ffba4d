"""Tasks in words: how a TaskPrompt is said to the model. Training draws from all wordings, serving uses the first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.types import ItemKey

# {type}: the wanted item type with article; {subject}: the query or item; {history}: the user's items, oldest first.
# Task, type and format stand in these words and nowhere else: that is how a model is steered (NEO, stage 3). What is
# said of a history and what is then asked for are combined freely, so that a model learns which of the words count; the
# paper has twenty wordings of each mixed task.
_LEADS = (
    "I liked {history}.",
    "I enjoyed {history}.",
    "My favourites: {history}.",
    "My taste: {history}.",
    "I have {history} already.",
    "Here is what I had: {history}.",
    "Someone chose {history}.",
    "A user's history: {history}.",
    "{history}: these I liked.",
    "The last ones were {history}.",
)
_REQUESTS = (
    "Recommend {type}.",
    "Pick {type} for me.",
    "What is {type} for me?",
    "Show me {type}.",
    "I need {type}.",
    "Propose {type}.",
    "Which is {type} to try now?",
    "I am in the mood for {type}.",
    "Find me {type} that goes with them.",
    "Is there {type} like that?",
)
_OPENINGS = (
    "Recommend {type}",
    "Suggest {type}",
    "Find {type}",
    "Name {type}",
    "Choose {type}",
    "I want {type}",
    "What is {type}",
)
_CLOSINGS = (
    "for someone who liked {history}.",
    "for a fan of {history}.",
    "to follow {history}.",
    "given {history}.",
    "that goes with {history}?",
    "for a user who has {history}?",
)
# Each on its own behind a request, or within it.
_REASONS = (
    "Say why.",
    "Give me a reason.",
    "Explain the choice.",
    "Tell me what makes it fit.",
    "What do they share?",
    "Describe why I would like it.",
    "Why that one?",
    "How come?",
    "Justify your pick.",
    "Convince me.",
    "And the reason is?",
    "Please give a reason for it.",
    "I'd also like to know the reasoning behind it.",
    "Could you say a few words about why you chose it?",
    "But don't just name it, tell me what led you there.",
    "Also, how did you arrive at that suggestion?",
    "Include a short explanation.",
    "Please back it up with an argument or two.",
    "And what makes you think I'd enjoy it?",
    "Walk me through your thinking.",
    "A brief rationale would be appreciated.",
    "Would you mind explaining why it suits this taste?",
    "Describe how it matches those preferences.",
    "Also mention what it has in common with them.",
    "It would help to hear why you think so.",
    "Can you spell out what speaks for it?",
    "For what reason would you suggest it?",
    "Add a justification, however short.",
)
_REASONS_WITHIN = (
    "and say why",
    "and explain",
    "and give a reason",
    "giving a reason",
    "with a short explanation",
    "and justify your answer",
    "along with your reasoning",
    "but please tell me why",
    "plus a sentence on why it suits",
    "and don't forget to mention the reason",
)
_PORTRAITS = (
    "Describe my taste.",
    "What do they say about me?",
    "What am I into?",
    "Describe the user's interests.",
    "What does this person like?",
    "Write a short profile.",
    "Infer what I like.",
    "Summarise the interests.",
    "What do they have in common?",
    "Who would like them? Describe them.",
)


def _combined(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(" ".join, product(*parts)))


_WISHES = (
    *_combined(_LEADS, _REQUESTS),
    *_combined(_OPENINGS, _CLOSINGS),
    "Given {history}, what is {type} to try?",
    "After {history}, I want {type}.",
    "What would follow {history}? Name {type}.",
)
WORDINGS: dict[Task, tuple[str, ...]] = {
    Task.RECOMMEND: _WISHES,
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
        *_combined(_WISHES, _REASONS),
        *(f"{wish[:-1]}, {reason}{wish[-1]}" for wish, reason in product(_WISHES, _REASONS_WITHIN)),
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
    "What interests does {subject} show?",
    "Given {subject}, what kind of things does this user like?",
    "Write a short profile of someone who chose {subject}.",
    "Profile this user: {subject}.",
    "In words, what do {subject} have in common for this user?",
    "Explain the taste behind {subject}.",
    "{subject}: what does this person like?",
    "What themes run through {subject}?",
    *(words.replace("{history}", "{subject}") for words in _combined(_LEADS, _PORTRAITS)),
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
