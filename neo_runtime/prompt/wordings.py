"""The words of tasks. Task, type and format stand in them and nowhere else: so a model is steered (NEO, stage 3).

What is said of a history and what is then asked for are combined freely, so that a model learns which of the words
count; beside them stand phrases as people say them (`phrases/`). The paper has twenty wordings of each mixed task. An
item, the reason with it and a user in words are each asked for in as many ways: a word that it does not know a small
model takes for a sign of the task that has the most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice, product

from neo_runtime.prompt import phrases
from neo_runtime.prompt.message import Task

# {type}: the wanted item type with article; {subject}: the query or item; {history}: the user's items, oldest first.
SLOT = re.compile(r"(\{\w+\})")

_MINE = (
    "I liked {history}.",
    "I enjoyed {history}.",
    "My favourites: {history}.",
    "My taste: {history}.",
    "I have {history} already.",
    "Here is what I had: {history}.",
    "{history}: these I liked.",
    "The last ones were {history}.",
    "Over the past year I have gone through {history}.",
    "Honestly, I'm a huge fan of {history}.",
    "When I look back on what I liked most, I think of {history}.",
)
_OTHERS = (
    "Someone chose {history}.",
    "A user's history: {history}.",
    "We both really enjoyed {history}.",
    "My wife loves {history}.",
    "A customer of ours has chosen {history}.",
    "Someone I know is very fond of {history}.",
    "My brother can't get enough of {history}.",
    "The user's history includes {history}.",
    "So far, our family has been delighted by {history}.",
    "Here is what the client has picked in the past: {history}.",
    "Lately a friend of mine keeps coming back to {history}.",
    "This person's record shows that they enjoyed {history}.",
)
_LEADS = (*_MINE, *_OTHERS)
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
    "Please suggest {type}.",
    "Can you recommend {type}?",
    "Could you suggest {type} along those lines?",
    "Is there {type} you would recommend?",
    "Name {type} that would fit.",
    "I'm looking for {type} in the same vein.",
    "Do you know of {type} that would go down well?",
    "Now find {type} to match.",
    "Pick {type} to follow that.",
    "It would be great to hear about {type} with a similar appeal.",
    "Would you be so kind as to propose {type}?",
    "Help me choose {type} that fits.",
    "Any chance you could point me to {type} worth trying next?",
    "We need {type} to go with that.",
    "If you had to name {type} to come next, which would it be?",
    "Based on that, offer {type} that is likely to please.",
    "Tell me about {type} that ought to be a safe bet.",
    "There must be {type} out there that would suit such a taste.",
    "Just one suggestion, please: {type}.",
    "I'd be grateful if you could come up with {type} that suits this taste.",
    "Given that, what would you pick as {type} to try?",
    "Which one would you go for when asked for {type}?",
)
_OPENINGS = (
    "Recommend {type}",
    "Suggest {type}",
    "Find {type}",
    "Name {type}",
    "Choose {type}",
    "I want {type}",
    "Please suggest {type}",
    "I'm looking for {type}",
    "We need {type}",
    "Help me choose {type}",
    "I would like you to propose {type}",
    "I was hoping you could come up with {type}",
    "Go ahead and pick {type}",
    "Just give me {type}",
)
_CLOSINGS = (
    "for someone who liked {history}",
    "for a fan of {history}",
    "to follow {history}",
    "given {history}",
    "that goes with {history}",
    "for a user who has {history}",
    "for a customer whose favourites include {history}",
    "for my wife, who loves {history}",
    "for a person who can't get enough of {history}",
    "that would suit a fan of {history}",
    "in the same vein as {history}",
    "that is likely to please anyone who has enjoyed {history}",
    "based on a fondness for {history}",
    "for a friend of mine who keeps coming back to {history}",
    "with an appeal similar to that of {history}",
)
# Each on its own behind a request, or within it.
_REASONS = (
    "Say why.",
    "Give me a reason.",
    "Explain the choice.",
    "Tell me what makes it fit.",
    "What do they share?",
    "Describe why I would like it.",
    "How come?",
    "Justify your pick.",
    "Convince me.",
    "And the reason is?",
    "Please give a reason for it.",
    "Could you say a few words about why you chose it?",
    "But don't just name it, tell me what led you there.",
    "Also, how did you arrive at that suggestion?",
    "Include a short explanation.",
    "Please back it up with an argument or two.",
    "Walk me through your thinking.",
    "A brief rationale would be appreciated.",
    "Would you mind explaining why it suits this taste?",
    "Describe how it matches those preferences.",
    "Also mention what it has in common with them.",
    "It would help to hear why you think so.",
    "Can you spell out what speaks for it?",
    "For what reason would you suggest it?",
    "Add a justification, however short.",
    "I am interested in the reasoning behind it.",
    "Please clarify why this is the right choice.",
    "Please elaborate on your decision.",
)
_REASONS_WITHIN = (
    "and say why",
    "and give a reason",
    "giving a reason",
    "with a short explanation",
    "along with your reasoning",
    "but please tell me why",
    "plus a sentence on why it suits",
    "and don't forget to mention the reason",
)
_WHYS = ("and why", "and for what reason", "and what speaks for it")
_PORTRAITS_OF_ME = (
    "Describe my taste.",
    "What do they say about me?",
    "What am I into?",
    "Infer what I like.",
)
_PORTRAITS = (
    "Describe the user's interests.",
    "What does this person like?",
    "Write a short profile.",
    "Summarise the interests.",
    "What do they have in common?",
    "Who would like them? Describe them.",
    "Describe the taste behind that.",
    "What kind of taste is that?",
    "Sum up those preferences in a few words.",
    "How would you describe such a taste?",
    "Please put this taste into words.",
    "What sort of interests does that point to?",
    "Can you sketch a short profile of those preferences?",
    "Give a brief description of the interests this shows.",
    "I'd like to hear what kind of taste that reveals.",
    "What does that tell you about the character of such a person?",
    "Could you characterise this taste?",
    "Tell me what such a person tends to enjoy.",
    "What are the likely interests of someone like that?",
    "In plain words, what is the taste here?",
    "Write a sentence or two about the preferences this suggests.",
    "Which words best capture a taste like that?",
    "It would help to have those tastes summed up.",
    "So what's the overall vibe of that taste?",
    "Kindly provide a summary of the preferences that can be inferred from this.",
    "What sort of person has a taste like that?",
    "Based on that alone, paint a picture of the likes and interests involved.",
    "How might one characterise a person with such likes?",
    "Now turn that into a short portrait of someone's taste.",
)


def _combined(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(" ".join, product(*parts)))


def _with_reasons(wishes: Sequence[str], count: int) -> Iterator[str]:
    """Each asked for with so many of the reasons behind it, in turn."""
    behind = cycle((*_REASONS, *phrases.REASONS))
    return (f"{wish} {reason}" for wish in wishes for reason in islice(behind, count))


def _with_reasons_within(wishes: Sequence[str]) -> Iterator[str]:
    """Each asked for with one of the reasons within."""
    within = {".": cycle(_REASONS_WITHIN), "?": cycle(_WHYS)}
    return (f"{wish[:-1]}, {next(within[wish[-1]])}{wish[-1]}" for wish in wishes)


_WISHES = (
    *_combined(_LEADS, _REQUESTS),
    *(f"{wish}." for wish in _combined(_OPENINGS, _CLOSINGS)),
    "Given {history}, what is {type} to try?",
    "After {history}, I want {type}.",
    "What would follow {history}? Name {type}.",
)
WORDINGS: dict[Task, tuple[str, ...]] = {
    Task.RECOMMEND: (*_WISHES, *phrases.REQUESTS),
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
        *_with_reasons(_WISHES, 3),
        *_with_reasons_within(_WISHES),
        *_with_reasons(phrases.REQUESTS, 4),  # as often: no request's words are a sign of a reason
    ),
    Task.UNDERSTAND: (
        "Describe {subject}.",
        "Tell me about {subject}.",
        "What is {subject}?",
    ),
}
# Where nothing is known of the user.
WITHOUT_HISTORY: dict[Task, tuple[str, ...]] = {
    Task.RECOMMEND: tuple(f"{opening}." for opening in _OPENINGS),
    Task.EXPLAIN: ("Recommend {type} and say why.",),
}
# UNDERSTAND with several items: they are a history, and the answer is a profile of its user.
PROFILE_WORDINGS = (
    "Describe the taste of someone who liked {subject}.",
    "What does someone who liked {subject} care about?",
    "What interests does {subject} show?",
    "Given {subject}, what does this user like?",
    "Write a short profile of someone who chose {subject}.",
    "Profile this user: {subject}.",
    "In words, what do {subject} have in common for this user?",
    "Explain the taste behind {subject}.",
    "{subject}: what does this person like?",
    "What themes run through {subject}?",
    "What kind of person enjoys {subject}?",
    "I love {subject}. What would you call my taste?",
    "My wife has always been fond of {subject}. What can be told of her likings?",
    "Please summarise the interests of a customer who chose {subject}.",
    "If somebody keeps coming back to {subject}, what are they into?",
    "We have enjoyed {subject} a lot. Put our taste into words.",
    "Going by {subject}, what would you say my interests are?",
    "Could you write a short profile of a person whose favourites include {subject}?",
    "Somebody I know can't get enough of {subject}. I'm curious what sort of taste that is.",
    "Given a history consisting of {subject}, kindly characterise the preferences of the user.",
    "Tell me in a few words what a fan of {subject} tends to like.",
    *(
        words.replace("{history}", "{subject}")
        for words in (*_combined(_LEADS, _PORTRAITS), *_combined(_MINE, _PORTRAITS_OF_ME), *phrases.PROFILES)
    ),
)
# Of what type an item is: said of one item, answered with the type in words (NEO, stage 2).
TYPE_WORDINGS = (
    "What kind of item is {subject}?",
    "What type is {subject}?",
    "Is {subject} one of which kind?",
)
ALL_WORDINGS = (*chain(*WORDINGS.values()), *PROFILE_WORDINGS, *TYPE_WORDINGS)
