"""One request from prompt to last event, as a generator: it yields events, and feeds whose answers are sent to it.

A stream is a grammar of two states. In *text*, ordinary tokens, the end token and the opening marker may come; in a
*span*, only children of the live prefix. A span sees the newest generation and keeps it from first code to last.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.reader import Pinned
from neo_runtime.engine.api import (
    Constraints,
    EngineEvent,
    EngineLimits,
    Finished,
    FinishReason,
    GenerateWork,
    OutputFormat,
    Ranked,
    RankedList,
    RankWork,
    Span,
    Started,
    TextChunk,
    Usage,
    Warmed,
    WarmWork,
    Work,
)
from neo_runtime.engine.backbone import backbone_of
from neo_runtime.engine.passes import Feed, Head
from neo_runtime.engine.sampler import Sampler
from neo_runtime.engine.span import Normalization, SpanDecoder
from neo_runtime.engine.text import TextStream
from neo_runtime.errors import (
    FieldViolation,
    InvalidRequestError,
    NoEligibleItemError,
    NotFoundError,
    PrefixCacheError,
    PromptTooLongError,
)
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Conversation
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say
from neo_runtime.trie import RestrictedView, Restriction
from neo_runtime.trie.learned import LearnedTuples
from neo_runtime.trie.step import Floats, warm_up
from neo_runtime.trie.view import now_us
from neo_runtime.types import ItemKey


class Pins(Protocol):
    """A catalog, or whatever stands for the one that is served."""

    def pin(self, keys: Collection[ItemKey]) -> Pinned:
        """See CatalogReader."""
        ...


T = TypeVar("T")
Steps = Generator[EngineEvent | Feed, list[Floats], T]
"""Sent to after a feed: the answers to its heads. After an event nothing is sent."""
_WARM_STEP_TOKENS = 128  # a part: short passes, and a request that comes in the middle takes over what is done


class Decoder:
    """Everything that requests share: model, catalog, limits. Used by one thread."""

    def __init__(
        self,
        model: NeoModel,
        reader: Pins,
        limits: EngineLimits,
        normalization: Normalization = Normalization.LEARNED,
        *,
        max_running: int = 32,
        cache_bytes: int = 0,
        max_bytes: int = 1 << 62,
    ) -> None:
        """`max_running`: requests at once. `cache_bytes`: see PrefixCache. `max_bytes`: of what runs."""
        self.model, self.reader, self.limits, self.max_running = model, reader, limits, max_running
        warm_up()
        levels = max(space.levels for space in model.vocabulary.spaces.values())
        self.span_tokens = levels + 2  # of the longest, markers included
        columns = self._columns = limits.max_context_tokens + limits.max_beam_width * (levels - 1)
        contexts = max_running + bool(cache_bytes)  # one more for what is warmed: requests never wait for that
        self.backbone = backbone_of(model.lm, contexts=contexts, columns=columns, cache_bytes=cache_bytes)
        self.max_tokens = max_bytes // max(self.backbone.token_bytes, 1)
        spaces = model.vocabulary.spaces
        learned = {name: LearnedTuples(spaces[name], keys) for name, keys in model.learned.items()}
        self.spans = SpanDecoder(model.vocabulary, normalization, learned)
        self.renderer = PromptRenderer(model.tokenizer, model.vocabulary)
        self.end_tokens = _end_tokens(model)
        self.banned = np.array(sorted(_control_tokens(model) - self.end_tokens), np.int64)

    def tokens(self, work: Work, prompt: int) -> int:
        """Whose keys and values a request may need at once, at most."""
        match work:
            case GenerateWork():
                spans = work.decoding.max_items * self.span_tokens + work.decoding.beam_width * self.span_tokens
                answer = work.decoding.max_output_tokens + spans
            case RankWork():
                answer = work.max_results * self.span_tokens
            case WarmWork():
                answer = 0
        return min(prompt + answer, self._columns)

    def decode(self, work: Work, queued_at: float) -> Steps[None]:
        """Events of one request, and what it wants fed. Raises NeoError; frees its context also when it is closed."""
        if isinstance(work, WarmWork):
            self._refuse_without_cache()
        request = _Request(self, work, queued_at)
        try:
            match work:
                case GenerateWork():
                    yield from _Stream(request, work).events()
                case RankWork():
                    yield from request.rank(work)
                case WarmWork():
                    yield from request.warm()
        finally:
            request.context.close()

    def _refuse_without_cache(self) -> None:
        if self.backbone.cache is None:
            raise PrefixCacheError(
                f"models of kind {self.model.lm.config.model_type} take no prompts over from one another; "
                "send requests without warming"
            )
        if not self.backbone.cache.max_bytes:
            raise PrefixCacheError("this worker remembers no prompts; start it with prefix_cache_mb above 0")


@dataclass(slots=True)
class _Prepared:
    tokens: list[int]
    pinned: Pinned
    unknown_history: int


class _Request:
    """What ranked lists, streams and warming have in common."""

    def __init__(self, decoder: Decoder, work: Work, queued_at: float) -> None:
        self.decoder, self.work = decoder, work
        self.constraints = Constraints() if isinstance(work, WarmWork) else work.constraints
        self.queue_time_s = time.monotonic() - queued_at
        self.context = decoder.backbone.context()
        self.prompt_tokens = self.cached_prompt_tokens = self.text_tokens = self.sid_tokens = 0
        self.prefill_time_s = 0.0
        self.snapshot = ""  # what the newest restricted view was pinned in
        self._started_at = time.monotonic()

    def prepare(self, answer_tokens: int) -> _Prepared:
        """Pin the catalog, look up what the prompt names, render it. Unknown history is left out, others refused."""
        prompt_items = _named_items(self.work)
        pinned = self.decoder.reader.pin({*prompt_items, *self.work.history})
        for key, field in prompt_items.items():
            if key not in pinned.sids:
                raise NotFoundError("item", str(key), field=field)
        self._refuse_unknown_types(pinned)
        history = tuple(key for key in self.work.history if key in pinned.sids)
        prompt = self.work.prompt
        conversation = prompt if isinstance(prompt, Conversation) else say(prompt, history)
        tokens = self.decoder.renderer.render(conversation, pinned.sids)
        room = self.decoder.limits.max_context_tokens - answer_tokens
        if len(tokens) > room:
            found = f"has {len(tokens)} tokens; with the answer's {answer_tokens} only {room} fit"
            raise PromptTooLongError([FieldViolation("prompt", f"{found}: shorten it or its history")])
        self.prompt_tokens = len(tokens)
        return _Prepared(tokens, pinned, len(self.work.history) - len(history))

    def _refuse_unknown_types(self, pinned: Pinned) -> None:
        unknown = [name for name in self.constraints.item_types if name not in pinned.view.types]
        if unknown:
            known = ", ".join(sorted(pinned.view.types))
            violation = FieldViolation("constraints.item_types", f"{unknown[0]!r} is not one of {known}")
            raise InvalidRequestError([violation], reason="UNKNOWN_ITEM_TYPE")

    def restricted(self, emitted: frozenset[ItemKey] = frozenset()) -> RestrictedView:
        """The newest generation under the request's constraints, less what the answer named already.

        The SIDs of all items concerned are read in the same transaction as the generation.
        """
        constraints = self.constraints
        deny = constraints.deny | emitted
        if constraints.exclude_history:
            deny = deny.union(self.work.history)
        pinned = self.decoder.reader.pin({*deny, *(constraints.allow or ())})
        self.snapshot = pinned.snapshot
        allow = None if constraints.allow is None else _held(constraints.allow, pinned)
        wanted = Restriction(
            constraints.item_types, allow, _held(deny, pinned), constraints.predicates, now_us(), constraints.region
        )
        return pinned.view.restrict(wanted)

    def prefill(self, tokens: list[int], heads: Sequence[Head]) -> Steps[list[Floats]]:
        """Feed a prompt, but for what is remembered of it. The last token is fed at any rate: the heads are its."""
        started = time.monotonic()
        known = self.cached_prompt_tokens = self.context.begin(tokens[:-1])
        found = yield self.context.extend(tokens[known:], heads)
        self.context.remember(tokens)
        self.prefill_time_s = time.monotonic() - started
        return found

    def usage(self) -> Usage:
        decode_s = time.monotonic() - self._started_at - self.prefill_time_s
        return Usage(
            self.prompt_tokens, self.cached_prompt_tokens, self.text_tokens, self.sid_tokens, self.queue_time_s,
            self.prefill_time_s, decode_s,
        )  # fmt: skip

    def rank(self, work: RankWork) -> Steps[None]:
        prepared = self.prepare(self.decoder.span_tokens)
        view = self.restricted()
        if view.is_empty:
            raise NoEligibleItemError("the constraints leave no item to rank")
        spans = self.decoder.spans
        tokens = [*prepared.tokens, self.decoder.model.vocabulary.span_open]
        opened = yield from self.prefill(tokens, spans.opening(view))
        found = yield from spans.search(self.context, opened, view, work.max_results, bonus=work.new_item_bonus)
        self.sid_tokens = self.decoder.span_tokens - 2
        yield RankedList(tuple(found.ranked), view.generation, self.snapshot, prepared.unknown_history, self.usage())

    def warm(self) -> Steps[None]:
        """Feed what is not remembered of the prompt, and remember it part by part."""
        prepared = self.prepare(self.decoder.span_tokens)
        tokens, pinned = prepared.tokens, prepared.pinned
        cached = fed = self.context.begin(tokens)
        while fed < len(tokens):
            part = tokens[fed : fed + _WARM_STEP_TOKENS]
            yield self.context.extend(part)
            fed += len(part)
            self.context.remember(tokens[:fed])
        yield Warmed(len(tokens), cached, pinned.view.generation, pinned.snapshot, prepared.unknown_history)


class _Stream:
    """A mixed answer."""

    def __init__(self, request: _Request, work: GenerateWork) -> None:
        self._request, self._work, self._decoder = request, work, request.decoder
        self._sampler = Sampler(work.decoding)
        self._text = TextStream(self._decoder.model.tokenizer, work.decoding.stop_sequences)
        self._emitted: set[ItemKey] = set()
        self._spans = 0
        self._heads = [Head(slice(0, self._decoder.model.vocabulary.text_size + 1))]

    def events(self) -> Steps[None]:
        request, decoding = self._request, self._work.decoding
        prepared = request.prepare(self._decoder.span_tokens + 1)
        yield Started(prepared.pinned.view.generation, prepared.pinned.snapshot, prepared.unknown_history)
        (logits,) = yield from request.prefill(prepared.tokens, self._heads)
        vocabulary = self._decoder.model.vocabulary
        while True:
            if self._tokens_used() >= self._room(prepared):
                yield from self._finish(FinishReason.MAX_TOKENS)
                return
            if self._spans >= decoding.max_items and self._work.format is OutputFormat.ITEMS_ONLY:
                yield from self._finish(FinishReason.MAX_ITEMS)
                return
            token = self._next_token(logits[0])
            if token in self._decoder.end_tokens:
                yield from self._finish(FinishReason.END_OF_SEQUENCE)
                return
            if token == vocabulary.span_open:
                held = self._text.flush()
                if held:
                    yield TextChunk(held)
                span = yield from self._span()
                if span is None:
                    yield from self._finish(FinishReason.NO_ELIGIBLE_ITEM)
                    return
                yield span
                # The codes before the last were fed as beams already.
                chosen = span.ranked[0]
                (logits,) = yield request.context.extend(
                    vocabulary.span(chosen.item_type, chosen.codes)[-2:], self._heads
                )
                continue
            request.text_tokens += 1
            text = self._text.push(token)
            if text:
                yield TextChunk(text)
            if self._text.stopped_by:
                yield Finished(FinishReason.STOP_SEQUENCE, request.usage(), self._text.stopped_by)
                return
            (logits,) = yield request.context.extend([token], self._heads)

    def _tokens_used(self) -> int:
        return self._request.text_tokens + self._request.sid_tokens

    def _room(self, prepared: _Prepared) -> int:
        """Tokens that an answer may have: text by its limit, all by the context with a span to spare for the last."""
        left = self._decoder.limits.max_context_tokens - len(prepared.tokens) - self._decoder.span_tokens
        return min(left, self._work.decoding.max_output_tokens + self._request.sid_tokens)

    def _next_token(self, logits: Floats) -> int:
        """`logits` of the text and the opening marker; changed."""
        vocabulary = self._decoder.model.vocabulary
        logits[self._decoder.banned] = -np.inf
        if self._work.format is OutputFormat.TEXT_ONLY or self._spans >= self._work.decoding.max_items:
            logits[vocabulary.span_open] = -np.inf
        if self._work.format is OutputFormat.ITEMS_ONLY:
            allowed = [vocabulary.span_open, *(self._decoder.end_tokens if self._spans else ())]
            logits = _only(logits, allowed)
        return self._sampler.choose(logits)

    def _span(self) -> Steps[Span | None]:
        """Open a span and decode it; None where nothing is eligible."""
        request, spans = self._request, self._decoder.spans
        view = request.restricted(frozenset(self._emitted))
        if view.is_empty:
            return None
        decoding, wanted, bonus = self._work.decoding, 1 + self._work.alternatives, self._work.new_item_bonus
        opened = yield request.context.extend([self._decoder.model.vocabulary.span_open], spans.opening(view))
        if decoding.beam_width == 1 and decoding.temperature > 0:
            search = spans.search(request.context, opened, view, 1, self._sampler.one, bonus=bonus)
        else:
            search = spans.search(request.context, opened, view, max(decoding.beam_width, wanted), bonus=bonus)
        found = yield from search
        request.context.keep(found.branch)
        ranked = tuple(found.ranked[:wanted])
        chosen: Ranked = ranked[0]
        self._emitted.update(ItemKey(chosen.item_type, item_id) for item_id in chosen.item_ids)
        self._request.sid_tokens += len(chosen.codes) + 2
        self._spans += 1
        return Span(self._spans - 1, ranked, view.generation, self._request.snapshot)

    def _finish(self, reason: FinishReason) -> Steps[None]:
        held = self._text.flush()
        if held:
            yield TextChunk(held)
        yield Finished(reason, self._request.usage())


def _named_items(work: Work) -> dict[ItemKey, str]:
    """Items in the prompt itself, with the field that names them."""
    prompt = work.prompt
    if isinstance(prompt, Conversation):
        return {
            part: f"conversation.messages[{m}].contents[{c}].item"
            for m, turn in enumerate(prompt.turns)
            for c, part in enumerate(turn.parts)
            if isinstance(part, ItemKey)
        }
    return {part: f"task.subject[{c}].item" for c, part in enumerate(prompt.subject) if isinstance(part, ItemKey)}


def _held(keys: frozenset[ItemKey], pinned: Pinned) -> dict[ItemKey, int]:
    return {key: pinned.sids[key] for key in keys if key in pinned.sids}


def _only(logits: NDArray[np.float32], allowed: list[int]) -> NDArray[np.float32]:
    masked = np.full_like(logits, -np.inf)
    masked[allowed] = logits[allowed]
    return masked


def _end_tokens(model: NeoModel) -> frozenset[int]:
    configured = model.lm.generation_config.eos_token_id if model.lm.generation_config else None
    tokens = configured if isinstance(configured, list) else [configured]
    # A configured token past the text would be a marker or a code here: the base model's padding rows end there.
    size = model.vocabulary.text_size
    return frozenset(t for t in (*tokens, model.tokenizer.eos_token_id) if t is not None and t < size)


def _control_tokens(model: NeoModel) -> frozenset[int]:
    """Special tokens of the text part: no answer contains them."""
    added = {token for token, entry in model.tokenizer.added_tokens_decoder.items() if entry.special}
    return frozenset(
        token for token in {*added, *model.tokenizer.all_special_ids} if token < model.vocabulary.text_size
    )
