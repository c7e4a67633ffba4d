"""The loss: cross-entropy over what serving compares, one group of tokens at a time.

`level`: a code among the codes of its level, text among the text tokens and the opening marker. That is how serving
scores by default, and the head runs on a few rows instead of all. `vocabulary`: everything among everything, the
paper's plain next-token prediction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from neo_runtime.engine.span import Normalization
from neo_runtime.model.vocabulary import Vocabulary

IGNORED = -100
"""In the place of a target where nothing is to be predicted."""

Logits = Callable[[torch.Tensor, int, int], torch.Tensor]
"""From hidden states [n, width] and the first and last + 1 of a run of tokens to float32 [n, tokens]."""


class TokenGroups:
    """Runs of tokens that cover the vocabulary, in order: text with the opening marker, the closing one, each level."""

    def __init__(self, vocabulary: Vocabulary, normalization: Normalization, *, text_weight: float = 1.0) -> None:
        self.text_weight = text_weight
        self.starts = [0]
        # Serving closes spans itself, so where it is not among others the closing marker is nothing to learn.
        self.never_learned: int | None = None
        if normalization is Normalization.LEVEL:
            self.never_learned = vocabulary.span_close
            self.starts += [vocabulary.span_close]
            self.starts += [
                vocabulary.level_tokens(item_type, level).start
                for item_type, space in vocabulary.spaces.items()
                for level in range(space.levels)
            ]
        self.stops = [*self.starts[1:], vocabulary.size]

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor, logits: Logits) -> torch.Tensor:
        """Sum over all targets [n] of hidden states [n, width]; text counts `text_weight`."""
        borders = torch.tensor(self.starts[1:], device=targets.device, dtype=targets.dtype)
        group = torch.bucketize(targets, borders, right=True)
        order = torch.argsort(group, stable=True)
        counts = torch.bincount(group, minlength=len(self.starts)).tolist()
        total = hidden.new_zeros((), dtype=torch.float32)
        parts = zip(torch.split(hidden[order], counts), torch.split(targets[order], counts), strict=True)
        for number, (states, wanted) in enumerate(parts):
            if len(wanted) == 0:
                continue
            start, stop = self.starts[number], self.stops[number]
            scores = logits(states, start, stop)
            weight = self.text_weight if number == 0 and len(self.starts) > 1 else 1.0
            total = total + weight * cross_entropy(scores.float(), wanted - start, reduction="sum")
        return total
