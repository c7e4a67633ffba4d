"""The model's two halves: tokens to hidden states, for many requests in one pass, and hidden states to logits of slices
of the vocabulary. `PackedBackbone` runs whatever takes a registered attention function; `PlainBackbone` the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from neo_runtime.engine import attention
from neo_runtime.engine.attention import Plan
from neo_runtime.engine.context import Branch, Context
from neo_runtime.engine.passes import Feed, Head
from neo_runtime.engine.pool import KeyValuePool
from neo_runtime.engine.prefix_cache import PrefixCache
from neo_runtime.errors import ModelError
from neo_runtime.trie.step import Floats

_log = structlog.get_logger(__name__)
# How far the probe may be from the model's own logits, relative to the largest: rounding, not another function.
_TOLERANCE, _HALF_TOLERANCE = 0.02, 0.1


def backbone_of(lm: PreTrainedModel, *, contexts: int, columns: int, cache_bytes: int = 0) -> Backbone:
    """The fastest that serves this model; ModelError where none does."""
    try:
        return PackedBackbone(lm, contexts=contexts, columns=columns, cache_bytes=cache_bytes)
    except ModelError as error:
        backbone = PlainBackbone(lm)
        _log.warning(
            "requests do not share passes: the model takes no attention function of ours",
            kind=lm.config.model_type, reason=str(error),
        )  # fmt: skip
        return backbone


class Backbone(ABC):
    """One model. Used by one thread."""

    cache: PrefixCache | None = None
    """None: it can remember no prompt."""

    def __init__(self, lm: PreTrainedModel) -> None:
        """ModelError for attention that a tree mask does not describe, and for heads that do more than multiply."""
        self.lm, self.device = lm, lm.device
        self._head = lm.get_output_embeddings()
        _refuse_windows(lm)
        self._refuse_unlike()

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token; 0: not known."""
        return 0

    @abstractmethod
    def context(self) -> Context:
        """A new one. The packed backbone has as many as it was made for."""

    @abstractmethod
    def _states(self, feeds: Sequence[Feed]) -> list[torch.Tensor]:
        """Hidden states [n, d] of each feed."""

    @torch.inference_mode()
    def run(self, feeds: Sequence[Feed]) -> list[list[Floats]]:
        """One pass for all. Of each feed the answer to each of its heads."""
        asked: dict[_Tokens, list[torch.Tensor]] = {}
        for feed, hidden in zip(feeds, self._states(feeds), strict=True):
            for head in feed.heads:
                asked.setdefault(_tokens(head), []).append(_rows(hidden, head))
        # In the order in which they were asked for.
        answers = {tokens: iter(self._answered(tokens, parts)) for tokens, parts in asked.items()}
        return [[next(answers[_tokens(head)]) for head in feed.heads] for feed in feeds]

    def _answered(self, tokens: _Tokens, parts: list[torch.Tensor]) -> list[Floats]:
        """Of the rows of each part, in one product for all."""
        start, stop, normalizes = tokens
        hidden = parts[0] if len(parts) == 1 else torch.cat(parts)
        bias, of_head = getattr(self._head, "bias", None), slice(start, stop)
        out = torch.nn.functional.linear(hidden, self._head.weight[of_head], None if bias is None else bias[of_head])
        found = (out.float().logsumexp(-1) if normalizes else out.float()).cpu().numpy()
        return np.split(found, np.cumsum([len(part) for part in parts])[:-1])

    def _refuse_unlike(self) -> None:
        """Run the model as a whole and by our halves, on four tokens: scaled logits (Granite, Cohere), capped ones
        (Gemma 2) and positions that come from the mask (ALiBi) would give wrong scores without any error."""
        try:
            with torch.inference_mode():
                whole = self.lm(input_ids=torch.tensor([[0, 1, 2, 3]], device=self.device)).logits[0, [1, 3, 3]]
            expected = whole.float().cpu().numpy()
            context = self.context()
            everything = Head(slice(None))
            siblings = np.array([1, 2]), np.array([0, 0])  # a row must not see the other branch
            (line,) = self.run([context.extend([0, 1], [everything])])
            self.run([context.grow([siblings[0]], siblings[1], [])])
            (tree,) = self.run([context.grow([np.array([3])], np.array([1]), [everything])])
            context.keep(Branch(1, 1))
            (kept,) = self.run([context.extend([3], [everything])])
            context.close()
            found = np.concatenate([*line, *tree, *kept])
        except Exception as error:  # whatever a model of another kind stumbles over
            raise ModelError(f"models of kind {self.lm.config.model_type} are not supported ({error})") from error
        tolerance = _TOLERANCE if self.lm.dtype == torch.float32 else _HALF_TOLERANCE
        if not np.abs(found - expected).max() <= tolerance * np.abs(expected).max():
            raise ModelError(
                f"models of kind {self.lm.config.model_type} are not supported: "
                "their head or their attention does more than the runtime knows of"
            )


_Tokens = tuple[int | None, int | None, bool]
"""What heads of several feeds can have in common: a run of tokens, and whether it is normalised over."""


def _tokens(head: Head) -> _Tokens:
    return head.tokens.start, head.tokens.stop, head.normalizes


def _rows(hidden: torch.Tensor, head: Head) -> torch.Tensor:
    rows = head.rows
    if len(rows) == 1:
        place = int(rows[0]) % len(hidden)
        return hidden[place : place + 1]
    return hidden if len(rows) == len(hidden) else hidden[torch.from_numpy(rows).to(hidden.device)]


def _refuse_windows(lm: PreTrainedModel) -> None:
    layer_types = set(getattr(lm.config, "layer_types", None) or ["full_attention"])
    # Mistral and Phi-3 have a window without naming layer types; their cache tells.
    if any(getattr(layer, "is_sliding", False) for layer in DynamicCache(config=lm.config).layers):
        layer_types = {"sliding_attention"}
    if layer_types != {"full_attention"}:
        raise ModelError(f"models with {', '.join(sorted(layer_types))} layers are not supported; use full attention")


class _PoolColumns:
    """A row of the pool."""

    def __init__(self, pool: KeyValuePool, cache: PrefixCache) -> None:
        self.row, self._pool, self._cache = pool.take(), pool, cache
        self._is_open = True

    def restore(self, tokens: Sequence[int]) -> int:
        start = 0
        for columns in self._cache.find(tokens):
            self._pool.write(self.row, start, columns)
            start += columns.shape[2]
        return start

    def remember(self, tokens: Sequence[int]) -> None:
        self._cache.insert(tokens, lambda start, end: self._pool.read(self.row, start, end))

    def move(self, sources: NDArray[np.integer], start: int) -> None:
        if len(sources):
            self._pool.move(self.row, sources.tolist(), start)

    def close(self, used: int) -> None:
        if self._is_open:
            self._is_open = False
            self._pool.give_back(self.row, used)


class PackedBackbone(Backbone):
    """All feeds in one pass through the model, as one sequence; see `attention`."""

    cache: PrefixCache

    def __init__(self, lm: PreTrainedModel, *, contexts: int, columns: int, cache_bytes: int = 0) -> None:
        """`columns`: of the longest context, its beams included. `cache_bytes`: what the prefix cache may hold."""
        self._pool, self.cache = KeyValuePool(contexts, columns), PrefixCache(cache_bytes)
        self._no_mask = torch.empty(1, 1, 1, 1)  # taken as it is by transformers, and by us not at all
        heads = lm.config.num_attention_heads
        self._repeats = heads // (getattr(lm.config, "num_key_value_heads", None) or heads)
        before = lm.config._attn_implementation
        try:
            lm.set_attn_implementation(attention.NAME)
            super().__init__(lm)
        except (ValueError, ModelError) as error:
            lm.set_attn_implementation(before)
            raise ModelError(str(error)) from error

    @property
    def token_bytes(self) -> int:
        return self._pool.column_bytes

    def context(self) -> Context:
        return Context(_PoolColumns(self._pool, self.cache))

    def _states(self, feeds: Sequence[Feed]) -> list[torch.Tensor]:
        plan = Plan.of(self._pool, feeds, self._repeats, self.lm.dtype, self.device)
        ids = torch.from_numpy(np.concatenate([feed.tokens for feed in plan.order])[None]).to(self.device)
        positions = torch.from_numpy(np.concatenate([feed.positions for feed in plan.order])[None]).to(self.device)
        out = self.lm.base_model(
            input_ids=ids, position_ids=positions, attention_mask=self._no_mask, use_cache=False, neo=plan
        )
        hidden = out.last_hidden_state[0]
        parts = hidden.split([feed.tokens.size for feed in plan.order])
        of_feed = {id(feed): part for feed, part in zip(plan.order, parts, strict=True)}
        return [of_feed[id(feed)] for feed in feeds]


class _CacheColumns:
    """A Hugging Face cache. Nothing is remembered."""

    def __init__(self, lm: PreTrainedModel) -> None:
        self.row, self.cache = 0, DynamicCache(config=lm.config)

    def restore(self, tokens: Sequence[int]) -> int:
        return 0

    def remember(self, tokens: Sequence[int]) -> None:
        pass

    def move(self, sources: NDArray[np.integer], start: int) -> None:
        length = self.cache.get_seq_length()
        kept = [*range(start), *sources.tolist()]
        if len(kept) == length:
            return
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, kept], layer.values[:, :, kept]

    def close(self, used: int) -> None:
        self.cache = DynamicCache()


class PlainBackbone(Backbone):
    """One feed after the other, each with a cache of its own: slower, for models whose attention is their own."""

    def __init__(self, lm: PreTrainedModel) -> None:
        # transformers 5.24 renamed it; the old name goes with 5.40.
        self._cache_name = "cache" if "cache" in signature(lm.base_model.forward).parameters else "past_key_values"
        super().__init__(lm)

    def context(self) -> Context:
        return Context(_CacheColumns(self.lm))

    def _states(self, feeds: Sequence[Feed]) -> list[torch.Tensor]:
        return [self._state(feed) for feed in feeds]

    def _state(self, feed: Feed) -> torch.Tensor:
        columns = feed.context.columns
        assert isinstance(columns, _CacheColumns)
        inputs = {self._cache_name: columns.cache}
        if feed.visible is not None:
            inputs["attention_mask"] = torch.from_numpy(feed.visible).to(self.device)[None, None]
        out = self.lm.base_model(
            input_ids=torch.from_numpy(feed.tokens)[None].to(self.device),
            position_ids=torch.from_numpy(feed.positions)[None].to(self.device), use_cache=True, **inputs,
        )  # fmt: skip
        hidden: torch.Tensor = out.last_hidden_state[0]
        return hidden
