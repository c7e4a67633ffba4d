"""Prompts as values: turns made of text and items, or a task in the model's own words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from neo_runtime.types import ItemKey

Part = str | ItemKey
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A free prompt. The last turn is the user's, or another one's where a longer conversation is expected."""

    turns: tuple[Turn, ...]


class Task(Enum):
    """The four task families of NEO (paper, stage 3). UNDERSTAND of one item describes it, of several their user."""

    RECOMMEND = "recommend"
    RETRIEVE = "retrieve"
    EXPLAIN = "explain"
    UNDERSTAND = "understand"


@dataclass(frozen=True, slots=True)
class TaskPrompt:
    """A task that the runtime puts into the words that its models are trained with."""

    task: Task
    item_type: str
    subject: tuple[Part, ...] = ()


Prompt = Conversation | TaskPrompt
