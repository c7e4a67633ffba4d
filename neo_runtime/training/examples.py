"""From a sample, a conversation with its answer, to token ids and which of them the loss is on (NEO, stage 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Conversation, Part, TaskPrompt
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say, wordings
from neo_runtime.types import ItemKey


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked and what is to be answered. `context_items`: so many of the prompt's first items are no targets,
    whatever the writer learns.
    """

    conversation: Conversation
    answer: tuple[Part, ...]
    context_items: int = 0


def task_sample(
    random: np.random.Generator, prompt: TaskPrompt, history: Sequence[ItemKey], answer: Sequence[Part],
    *, context_items: int = 0,
) -> Sample:  # fmt: skip
    """A task in one of its wordings, drawn at random (NEO draws from templates likewise)."""
    wording = int(random.integers(len(wordings(prompt))))
    return Sample(say(prompt, tuple(history), wording), tuple(answer), context_items)


class Example(NamedTuple):
    """Token ids, and for each whether predicting it counts."""

    tokens: list[int]
    learned: list[bool]


class ExampleWriter:
    """`sids` holds the packed SID of every item that samples name.

    `learn_history`: the codes of items in the prompt count too, so that every prefix of a history is a target. The
    paper's loss is on the completion alone; small models on small data gain from the other targets. The oldest tokens
    of a prompt go where an example is over `most_tokens`.
    """

    def __init__(
        self, model: NeoModel, sids: Mapping[ItemKey, int], *, learn_history: bool = False,
        most_tokens: int | None = None,
    ) -> None:  # fmt: skip
        self._renderer = PromptRenderer(model.tokenizer, model.vocabulary, remembers=True)
        self._vocabulary, self._sids, self._learn_history = model.vocabulary, sids, learn_history
        self._most_tokens = most_tokens or model.context_tokens
        if model.tokenizer.eos_token_id is None:
            raise ModelError(f"the tokenizer of {model.name} names no end token: answers could not learn to end")
        self._end = int(model.tokenizer.eos_token_id)

    def write(self, sample: Sample) -> Example:
        """The example of one sample. KeyError where it names an item without a SID."""
        prompt = self._renderer.render(sample.conversation, self._sids)
        answer = [token for part in sample.answer for token in self._part(part)] + [self._end]
        learned = self._learned(prompt, sample.context_items) + [True] * len(answer)
        tokens = [*prompt, *answer]
        return Example(tokens[-self._most_tokens :], learned[-self._most_tokens :])

    def _learned(self, prompt: Sequence[int], context_items: int) -> list[bool]:
        if not self._learn_history:
            return [False] * len(prompt)
        first_code, end, opened = self._vocabulary.span_close + 1, self._vocabulary.size, self._vocabulary.span_open
        learned, items = [], 0
        for token in prompt:
            items += token == opened
            learned.append(first_code <= token < end and items > context_items)
        return learned

    def _part(self, part: Part) -> list[int]:
        return self._renderer.item(part, self._sids[part]) if isinstance(part, ItemKey) else self._renderer.text(part)
