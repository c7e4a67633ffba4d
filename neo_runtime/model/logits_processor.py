"""Grounded generation in Hugging Face `generate`: greedy, sampling and beams, every span a live item."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import LogitsProcessor

from neo_runtime.errors import ModelError, NoEligibleItemError
from neo_runtime.model.grammar import Allowed, SpanGrammar
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.trie import RestrictedView
from neo_runtime.types import ItemKey


class GroundedLogitsProcessor(LogitsProcessor):  # type: ignore[misc] # untyped
    """Masks what `SpanGrammar` forbids: NoEligibleItemError and MismatchError as there.

    It stays on the view that it was made with: make one for each `generate` call, from the newest view. A step costs
    one tensor like the scores and a few array operations for all rows, and takes the last tokens from the device once.
    """

    supports_continuous_batching = False  # its rows are not whole sequences

    def __init__(self, view: RestrictedView, vocabulary: Vocabulary) -> None:
        self._grammar = SpanGrammar(view, vocabulary)
        self._next_length = 0

    @property
    def generation(self) -> int:
        """Of the catalog that every span is valid in."""
        return self._grammar.view.generation

    def items(self, tokens: ArrayLike) -> list[tuple[ItemKey, ...]]:
        """The items of each whole span in one row that `generate` returned; see `SpanGrammar.items`."""
        return self._grammar.items(tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """A new tensor with -inf for what may not come next. int64 [rows, length], float [rows, vocabulary].

        NoEligibleItemError where a prompt ends inside a span that no live item begins with.
        """
        vocabulary = self._grammar.vocabulary
        if scores.shape[1] < vocabulary.size:
            raise ModelError(f"the model scores {scores.shape[1]} tokens, its codes need {vocabulary.size}")
        allowed = self._grammar.allowed(input_ids[:, -self._grammar.lookback :].cpu().numpy())
        # Only of prompts: beam search itself fills up with beams at -inf where fewer prefixes are live than it wants.
        if input_ids.shape[1] != self._next_length and len(allowed.stuck):
            raise NoEligibleItemError(f"no eligible item begins with the codes that row {allowed.stuck[0]} ends in")
        self._next_length = input_ids.shape[1] + 1
        return mask(scores, allowed, vocabulary)


def mask(scores: torch.Tensor, allowed: Allowed, vocabulary: Vocabulary) -> torch.Tensor:
    """A copy of scores [rows, vocabulary] with -inf for what is not allowed; everywhere in rows that are stuck."""
    rows, tokens = (torch.from_numpy(index).to(scores.device) for index in (allowed.rows, allowed.tokens))
    if allowed.is_text.any():
        masked = scores.clone()
        spans = torch.from_numpy(np.flatnonzero(~allowed.is_text)).to(scores.device)
        masked.index_fill_(0, spans, -math.inf)
        masked[:, vocabulary.span_close :] = -math.inf
    else:  # as in most steps of a beam search: there is nothing to copy
        masked = torch.full_like(scores, -math.inf)
    masked[rows, tokens] = scores[rows, tokens]
    return masked
