"""Decode one span: search the live tuples under a request's constraints, on one view from the first code to the last.

Beam search keeps the exact best continuations of every level; with one row and a sampler it draws a code at a time.
Item types of different lengths share the beam: a finished tuple keeps its place until better ones push it out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray

from neo_runtime.engine.api import Ranked
from neo_runtime.engine.context import Backbone, Context
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.trie import LiveTrie, Nodes, RestrictedView
from neo_runtime.trie.step import Floats, best, child_scores


class Normalization(Enum):
    """What a code's log-probability is relative to. Candidates are the same; scores and so rankings differ."""

    LEVEL = "level"
    """All codes of the level (of every permitted type at the first level): the default."""

    VOCABULARY = "vocabulary"
    """The whole vocabulary, as Hugging Face `generate` scores."""


Choose = Callable[[Floats, int], NDArray[np.int64]]
"""Scores [n] and a width to the chosen indices, best first."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Live prefixes of one type and depth, or finished tuples: codes [n, depth], scores [n], tree rows [n]."""

    item_type: str
    trie: LiveTrie
    codes: NDArray[np.int32]
    nodes: Nodes
    scores: Floats
    tree_rows: NDArray[np.int64]

    @property
    def is_finished(self) -> bool:
        return bool(self.codes.shape[1] == self.trie.view.space.levels)

    def take(self, indices: NDArray[np.integer]) -> _Rows:
        return _Rows(
            self.item_type, self.trie, self.codes[indices], self.nodes.take(indices), self.scores[indices],
            self.tree_rows[indices],
        )  # fmt: skip


class SpanDecoder:
    """Span search for one model."""

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary, normalization: Normalization) -> None:
        self._backbone, self._vocabulary, self._normalization = backbone, vocabulary, normalization

    def search(
        self, context: Context, opened: torch.Tensor, view: RestrictedView, width: int, choose: Choose = best
    ) -> Generator[None, None, list[Ranked]]:
        """Best tuples first, at most `width`, fewer where fewer are live. `opened` [1, d]: hidden state of the opening
        marker. Yields after every pass through the model; drops its tree at the end, also when it is closed early."""
        try:
            groups = [self._root(name, trie) for name, trie in view.tries.items() if len(trie)]
            groups = _cut(self._step(groups, opened), width, choose)
            while any(not group.is_finished for group in groups):
                yield
                growing = [group for group in groups if not group.is_finished]
                hidden = context.grow(*self._feed(growing))
                finished = [group for group in groups if group.is_finished]
                groups = _cut([*finished, *self._step(_numbered(growing), hidden)], width, choose)
            return _ranked(groups)
        finally:
            context.drop_tree()

    def _root(self, item_type: str, trie: LiveTrie) -> _Rows:
        zero = np.zeros(1, np.int64)
        return _Rows(item_type, trie, np.zeros((1, 0), np.int32), trie.root(), np.zeros(1, np.float32), zero)

    def _feed(self, groups: list[_Rows]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of the last codes, and the tree rows they hang below."""
        first = [self._vocabulary.level_tokens(g.item_type, g.codes.shape[1] - 1).start for g in groups]
        tokens = np.concatenate(
            [start + g.codes[:, -1].astype(np.int64) for start, g in zip(first, groups, strict=True)]
        )
        return tokens, np.concatenate([g.tree_rows for g in groups])

    def _step(self, groups: list[_Rows], hidden: torch.Tensor) -> list[_Rows]:
        """All live children of all groups; their `tree_rows` are the rows of `hidden` they come from."""
        logits = [
            self._backbone.logits(hidden[g.tree_rows], self._vocabulary.level_tokens(g.item_type, g.codes.shape[1]))
            for g in groups
        ]
        children = []
        for group, scores in zip(groups, self._normalized(groups, logits, hidden), strict=True):
            live = group.trie.children(group.codes.shape[1], group.nodes)
            codes = np.concatenate([group.codes[live.parent], live.code[:, None]], axis=1)
            totals = child_scores(live, scores, group.scores)
            children.append(_Rows(group.item_type, group.trie, codes, live.nodes, totals, group.tree_rows[live.parent]))
        return children

    def _normalized(self, groups: list[_Rows], logits: list[Floats], hidden: torch.Tensor) -> list[Floats]:
        """Log-probabilities of every code, one array [rows, K] per group."""
        if self._normalization is Normalization.VOCABULARY:
            # Padding rows of the head count too, as they do in `generate` and in the training loss.
            everything = _log_sum_exp(self._backbone.logits(hidden, slice(None)))
            norms = [everything[group.tree_rows] for group in groups]
        elif groups and groups[0].codes.shape[1] == 0:
            norms = [_log_sum_exp(np.concatenate(logits, axis=1))] * len(groups)
        else:
            norms = [_log_sum_exp(rows) for rows in logits]
        return [rows - norm[:, None] for rows, norm in zip(logits, norms, strict=True)]


def _log_sum_exp(rows: Floats) -> Floats:
    top = rows.max(axis=1)
    total: Floats = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return total


def _numbered(groups: list[_Rows]) -> list[_Rows]:
    """Give rows the places in which they went through the model."""
    numbered, start = [], 0
    for group in groups:
        rows = np.arange(start, start + len(group.scores))
        numbered.append(_Rows(group.item_type, group.trie, group.codes, group.nodes, group.scores, rows))
        start += len(rows)
    return numbered


def _cut(groups: list[_Rows], width: int, choose: Choose) -> list[_Rows]:
    """The `width` best rows over all groups, the order inside a group kept best first."""
    if not groups:
        return []
    chosen = choose(np.concatenate([group.scores for group in groups]), width)
    kept, start = [], 0
    for group in groups:
        size = len(group.scores)
        mine = chosen[(chosen >= start) & (chosen < start + size)] - start
        if len(mine):
            kept.append(group.take(mine))
        start += size
    return kept


def _ranked(groups: list[_Rows]) -> list[Ranked]:
    rows = [
        Ranked(
            group.item_type,
            tuple(group.codes[row].tolist()),
            group.trie.leaf_items(group.nodes, row),
            float(group.scores[row]),
        )
        for group in groups
        for row in range(len(group.scores))
    ]
    return sorted(rows, key=lambda ranked: -ranked.logprob)
