"""The loss: cross-entropy over what serving compares, one group of tokens at a time.

`level`: a code among the codes of its level, the first one among those of all types, text among the text tokens and the
opening marker. That is how serving scores by default, and the head runs on a few rows instead of all. `vocabulary`:
everything among everything, the paper's plain next-token prediction.
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
    """Tokens that are compared with one another: text with the opening marker, the closing one, the first codes of all
    types, since the first code also chooses the type, and each further level of a type.
    """

    def __init__(self, vocabulary: Vocabulary, normalization: Normalization, *, text_weight: float = 1.0) -> None:
        self.text_weight = text_weight
        self._groups = [[slice(0, vocabulary.size)]]
        # Serving closes spans itself, so where it is not among others the closing marker is nothing to learn.
        self.never_learned: int | None = None
        if normalization is Normalization.LEVEL:
            close = self.never_learned = vocabulary.span_close
            firsts = [vocabulary.level_tokens(item_type, 0) for item_type in vocabulary.spaces]
            self._groups = [[slice(0, close)], [slice(close, close + 1)], firsts]
            self._groups += [
                [vocabulary.level_tokens(item_type, level)]
                for item_type, space in vocabulary.spaces.items()
                for level in range(1, space.levels)
            ]
        self._group_of = torch.zeros(vocabulary.size, dtype=torch.int64)
        self._place_of = torch.zeros(vocabulary.size, dtype=torch.int64)
        for number, runs in enumerate(self._groups):
            tokens = torch.cat([torch.arange(run.start, run.stop) for run in runs])
            self._group_of[tokens] = number
            self._place_of[tokens] = torch.arange(len(tokens))

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor, logits: Logits) -> torch.Tensor:
        """Sum over all targets [n] of hidden states [n, width]; text counts `text_weight`."""
        self._group_of, self._place_of = self._group_of.to(targets.device), self._place_of.to(targets.device)
        group = self._group_of[targets]
        order = torch.argsort(group, stable=True)
        counts = torch.bincount(group, minlength=len(self._groups)).tolist()
        total = hidden.new_zeros((), dtype=torch.float32)
        parts = zip(torch.split(hidden[order], counts), torch.split(targets[order], counts), strict=True)
        for number, (states, wanted) in enumerate(parts):
            if len(wanted) == 0:
                continue
            scores = torch.cat([logits(states, run.start, run.stop) for run in self._groups[number]], dim=-1)
            weight = self.text_weight if number == 0 and len(self._groups) > 1 else 1.0
            total = total + weight * cross_entropy(scores.float(), self._place_of[wanted], reduction="sum")
        return total
