"""The loss: cross-entropy over what serving compares, one group of tokens at a time.

`learned`: a further code among those that items of the training have after the same prefix, since which ones follow is
the trie's to know, not the model's; the first one among those of all types, text among the text tokens and the opening
marker. That is how serving scores by default, and the head runs on a few rows instead of all. `level`: a further code
among all of its level. `vocabulary`: everything among everything, the paper's plain next-token prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from neo_runtime.engine.span import Normalization
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.sid.space import Keys
from neo_runtime.trie.learned import LearnedTuples

IGNORED = -100
"""In the place of a target where nothing is to be predicted."""

Logits = Callable[[torch.Tensor, int, int], torch.Tensor]
"""From hidden states [n, width] and the first and last + 1 of a run of tokens to float32 [n, tokens]."""


class TokenGroups:
    """Tokens that are compared with one another: text with the opening marker, the closing one, the first codes of all
    types, since the first code also chooses the type, and each further level of a type.
    """

    def __init__(
        self, vocabulary: Vocabulary, normalization: Normalization, learned: Mapping[str, Keys] | None = None, *,
        text_weight: float = 1.0,
    ) -> None:  # fmt: skip
        """`learned`: by type, packed tuples uint64 [n], strictly ascending, of all items that are targets."""
        self.text_weight, self._vocabulary = text_weight, vocabulary
        self._learned = dict[str, LearnedTuples]()
        if normalization is Normalization.LEARNED:
            self._learned = {name: LearnedTuples(vocabulary.spaces[name], k) for name, k in (learned or {}).items()}
        self._further = dict[int, tuple[str, int]]()
        self._groups = [[slice(0, vocabulary.size)]]
        # Serving closes spans itself, so where it is not among others the closing marker is nothing to learn.
        self.never_learned: int | None = None
        if normalization is not Normalization.VOCABULARY:
            close = self.never_learned = vocabulary.span_close
            firsts = [vocabulary.level_tokens(item_type, 0) for item_type in vocabulary.spaces]
            self._groups = [[slice(0, close)], [slice(close, close + 1)], firsts]
            for item_type, space in vocabulary.spaces.items():
                for level in range(1, space.levels):
                    self._further[len(self._groups)] = item_type, level
                    self._groups.append([vocabulary.level_tokens(item_type, level)])
        self._group_of = torch.zeros(vocabulary.size, dtype=torch.int64)
        self._place_of = torch.zeros(vocabulary.size, dtype=torch.int64)
        for number, runs in enumerate(self._groups):
            tokens = torch.cat([torch.arange(run.start, run.stop) for run in runs])
            self._group_of[tokens] = number
            self._place_of[tokens] = torch.arange(len(tokens))

    def loss(self, tokens: torch.Tensor, labels: torch.Tensor, hidden: torch.Tensor, logits: Logits) -> torch.Tensor:
        """Sum over all targets in `labels` [n, t], IGNORED where there are none, of hidden states [n, t, width] of
        `tokens` [n, t]; text counts `text_weight`.
        """
        self._group_of, self._place_of = self._group_of.to(labels.device), self._place_of.to(labels.device)
        places = (labels != IGNORED).nonzero()
        targets, hidden = labels[places[:, 0], places[:, 1]], hidden[places[:, 0], places[:, 1]]
        group = self._group_of[targets]
        order = torch.argsort(group, stable=True)
        counts = torch.bincount(group, minlength=len(self._groups)).tolist()
        total = hidden.new_zeros((), dtype=torch.float32)
        parts = zip(*(torch.split(of[order], counts) for of in (hidden, targets, places)), strict=True)
        for number, (states, wanted, placed) in enumerate(parts):
            if len(wanted) == 0:
                continue
            scores = torch.cat([logits(states, run.start, run.stop) for run in self._groups[number]], dim=-1)
            if (apart := self._apart(number, tokens, placed)) is not None:
                scores = scores.masked_fill(apart, -torch.inf)
            weight = self.text_weight if number == 0 and len(self._groups) > 1 else 1.0
            total = total + weight * cross_entropy(scores.float(), self._place_of[wanted], reduction="sum")
        return total

    def _apart(self, number: int, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor | None:
        """[n, K]: which codes of a group are not compared with the targets at `places` [n, 2]."""
        item_type, level = self._further.get(number, ("", 0))
        learned = self._learned.get(item_type)
        if learned is None:
            return None
        columns = places[:, 1:] + torch.arange(1 - level, 1, device=places.device)
        before = tokens[places[:, :1], columns.clamp(min=0)].cpu().numpy()
        runs = [self._vocabulary.level_tokens(item_type, above) for above in range(level)]
        codes = before - np.array([run.start for run in runs])
        # Where the oldest tokens of an example were cut off, the prefix may have gone with them.
        is_whole = ((codes >= 0) & (codes < [run.stop - run.start for run in runs])).all(axis=1, keepdims=True)
        follow = learned.follow(np.where(is_whole, codes, 0)) | ~is_whole
        return torch.from_numpy(~follow).to(tokens.device)
