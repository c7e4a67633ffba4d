"""From a sample, a conversation with its answer, to token ids and which of them the loss is on (NEO, stage 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Conversation, Part, TaskPrompt
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import WORDINGS, say
from neo_runtime.types import ItemKey

CACHED_TEXTS = 65_536


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked and what is to be answered."""

    conversation: Conversation
    answer: tuple[Part, ...]


def task_sample(
    random: np.random.Generator, prompt: TaskPrompt, history: Sequence[ItemKey], answer: Sequence[Part]
) -> Sample:
    """A task in one of its wordings, drawn at random (NEO draws from templates likewise)."""
    wording = int(random.integers(len(WORDINGS[prompt.task])))
    return Sample(say(prompt, tuple(history), wording), tuple(answer))


class Example(NamedTuple):
    """Token ids, and for each whether predicting it counts."""

    tokens: list[int]
    learned: list[bool]


class ExampleWriter:
    """`sids` holds the packed SID of every item that samples name.

    `learn_history`: the codes of items in the prompt count too, so that every prefix of a history is a target. The
    paper's loss is on the completion alone; small models on small data gain from the other targets.
    """

    def __init__(self, model: NeoModel, sids: Mapping[ItemKey, int], *, learn_history: bool = False) -> None:
        self._renderer = PromptRenderer(model.tokenizer, model.vocabulary)
        self._vocabulary, self._sids, self._learn_history = model.vocabulary, sids, learn_history
        if model.tokenizer.eos_token_id is None:
            raise ModelError(f"the tokenizer of {model.name} names no end token: answers could not learn to end")
        self._end = int(model.tokenizer.eos_token_id)
        self._text = lru_cache(CACHED_TEXTS)(self._renderer.text)

    def write(self, sample: Sample) -> Example:
        """The example of one sample. KeyError where it names an item without a SID."""
        prompt = self._renderer.render(sample.conversation, self._sids)
        answer = [token for part in sample.answer for token in self._part(part)] + [self._end]
        codes = range(self._vocabulary.span_close + 1, self._vocabulary.size)
        learned = [self._learn_history and token in codes for token in prompt]
        return Example([*prompt, *answer], learned + [True] * len(answer))

    def _part(self, part: Part) -> list[int]:
        return self._renderer.item(part, self._sids[part]) if isinstance(part, ItemKey) else self._text(part)
