"""What a front end asks of a decode engine, and what comes back: typed messages, no gRPC, no torch.

A sink is called on a thread of the engine's, in order, and never after its last event, which is `Finished`,
`RankedList`, `Warmed` or a `NeoError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from neo_runtime.errors import NeoError
from neo_runtime.prompt.message import Prompt
from neo_runtime.trie.predicate import Predicate
from neo_runtime.types import ItemKey

MAX_BONUS = 10.0
"""Of new items, up or down: a factor of e^10 is first or last."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """Which items may be emitted, all of it together. Empty `item_types`: every type; `allow` None: every item.

    `region` None: items whose availability windows name regions are left out.
    """

    item_types: tuple[str, ...] = ()
    allow: frozenset[ItemKey] | None = None
    deny: frozenset[ItemKey] = frozenset()
    exclude_history: bool = True
    predicates: tuple[Predicate, ...] = ()
    region: str | None = None


class OutputFormat(Enum):
    """What an answer may hold."""

    MIXED = "mixed"
    ITEMS_ONLY = "items"
    TEXT_ONLY = "text"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. Temperature 0 is greedy; inside a span, `beam_width` beams, or one code at a time if 1."""

    max_output_tokens: int = 256
    max_items: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()
    beam_width: int = 10


@dataclass(frozen=True, slots=True)
class GenerateWork:
    """One mixed stream. `new_item_bonus`: added to the log-probability of tuples that the model was not trained on."""

    prompt: Prompt
    history: tuple[ItemKey, ...] = ()
    constraints: Constraints = field(default_factory=Constraints)
    decoding: Decoding = field(default_factory=Decoding)
    format: OutputFormat = OutputFormat.MIXED
    alternatives: int = 0
    new_item_bonus: float = 0.0


@dataclass(frozen=True, slots=True)
class RankWork:
    """One ranked list of up to `max_results` tuples. `new_item_bonus` as in GenerateWork."""

    prompt: Prompt
    history: tuple[ItemKey, ...] = ()
    constraints: Constraints = field(default_factory=Constraints)
    max_results: int = 10
    new_item_bonus: float = 0.0


@dataclass(frozen=True, slots=True)
class WarmWork:
    """A prompt that a later request is expected to begin with. Requests go first. It may end with any turn."""

    prompt: Prompt
    history: tuple[ItemKey, ...] = ()


Work = GenerateWork | RankWork | WarmWork


@dataclass(frozen=True, slots=True)
class Ranked:
    """One code tuple with the items on it, best first, and its log-probability under the engine's normalisation."""

    item_type: str
    codes: tuple[int, ...]
    item_ids: tuple[str, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds of one request; of the prompt's tokens, `cached_prompt_tokens` were not fed."""

    prompt_tokens: int
    cached_prompt_tokens: int
    text_tokens: int
    sid_tokens: int
    queue_time_s: float
    prefill_time_s: float
    decode_time_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is accepted; sent before the first token is computed."""

    generation: int
    snapshot: str
    unknown_history: int


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Text that no later token changes."""

    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A closed span: the chosen tuple first, then the alternatives. All valid in `generation` of `snapshot`."""

    index: int
    ranked: tuple[Ranked, ...]
    generation: int
    snapshot: str


class FinishReason(Enum):
    """Why a stream ended."""

    END_OF_SEQUENCE = "end_of_sequence"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    MAX_ITEMS = "max_items"
    NO_ELIGIBLE_ITEM = "no_eligible_item"


@dataclass(frozen=True, slots=True)
class Finished:
    """A stream's last event."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str = ""


@dataclass(frozen=True, slots=True)
class RankedList:
    """A ranked request's only event, best first; fewer than asked for where fewer are eligible."""

    ranked: tuple[Ranked, ...]
    generation: int
    snapshot: str
    unknown_history: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Warmed:
    """The only event of a prompt that was warmed: it is in the prefix cache, `cached_prompt_tokens` were before."""

    prompt_tokens: int
    cached_prompt_tokens: int
    generation: int
    snapshot: str
    unknown_history: int


EngineEvent = Started | TextChunk | Span | Finished | RankedList | Warmed
Sink = Callable[[EngineEvent | NeoError], None]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one request may ask for."""

    max_context_tokens: int
    max_beam_width: int
    max_output_tokens: int
    max_items: int


class Engine(Protocol):
    """Decodes requests against the live catalog."""

    @property
    def limits(self) -> EngineLimits: ...

    @property
    def running(self) -> int: ...

    @property
    def queued(self) -> int: ...

    @property
    def cached_bytes(self) -> int:
        """What the prefix cache holds."""
        ...

    def watch(self, told: Callable[[bool], None]) -> None:
        """Say at once and at every change, on any thread, whether requests can be answered."""
        ...

    def submit(self, work: Work, sink: Sink) -> int:
        """Queue the request and return its number. OverloadedError where the queue is full, UnavailableError
        where the engine is stopping or starting. Everything else reaches the sink."""
        ...

    def pause(self, request: int) -> None:
        """Feed nothing of the request, and keep what it has, until `resume`. Unknown: no-op."""
        ...

    def resume(self, request: int) -> None:
        """Go on with a paused request."""
        ...

    def cancel(self, request: int) -> None:
        """Forget the request: its memory is free within a step, its sink is not called again. Unknown: no-op."""
        ...
