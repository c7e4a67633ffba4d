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
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.step import Floats, best, child_scores, normalizers, step


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

    def grown(self, parents: Ints, codes: Ints, nodes: Nodes, scores: Floats) -> _Rows:
        """Children of these rows."""
        prefixes = np.concatenate([self.codes[parents], codes[:, None]], axis=1)
        return _Rows(self.item_type, self.trie, prefixes, nodes, scores, self.tree_rows[parents])


class SpanDecoder:
    """Span search for one model."""

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary, normalization: Normalization) -> None:
        self._backbone, self._vocabulary, self._normalization = backbone, vocabulary, normalization

    def search(
        self, context: Context, opened: torch.Tensor, view: RestrictedView, width: int, choose: Choose | None = None
    ) -> Generator[None, None, list[Ranked]]:
        """Best tuples first, at most `width`, fewer where fewer are live. `choose`: another choice among all children
        than the best. `opened` [1, d]: hidden state of the opening marker. Yields after every pass through the model;
        drops its tree at the end, also when it is closed early."""
        try:
            groups = [self._root(name, trie) for name, trie in view.tries.items() if not trie.is_empty]
            groups = _cut(self._step(groups, opened, width, choose), width, choose or best)
            while any(not group.is_finished for group in groups):
                yield
                growing = [group for group in groups if not group.is_finished]
                hidden = context.grow(*self._feed(growing))
                finished = [group for group in groups if group.is_finished]
                grown = self._step(_numbered(growing), hidden, width, choose)
                groups = _cut([*finished, *grown], width, choose or best)
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

    def _step(self, groups: list[_Rows], hidden: torch.Tensor, width: int, choose: Choose | None) -> list[_Rows]:
        """The best `width` live children of each group, or all where there is a `choose`; their `tree_rows` are the
        rows of `hidden` they come from."""
        logits = [
            self._backbone.logits(hidden[g.tree_rows], self._vocabulary.level_tokens(g.item_type, g.codes.shape[1]))
            for g in groups
        ]
        norms = self._normalizers(groups, logits, hidden)
        return [
            _best(group, rows, norm, width) if choose is None else _all(group, rows, norm)
            for group, rows, norm in zip(groups, logits, norms, strict=True)
        ]

    def _normalizers(self, groups: list[_Rows], logits: list[Floats], hidden: torch.Tensor) -> list[Floats | None]:
        """What is taken off each row's logits, one array [rows] a group; None: the row's own normaliser."""
        if self._normalization is Normalization.VOCABULARY:
            # Padding rows of the head count too, as they do in `generate` and in the training loss.
            everything = normalizers(self._backbone.logits(hidden, slice(None)))
            return [everything[group.tree_rows] for group in groups]
        if len(groups) > 1 and groups[0].codes.shape[1] == 0:  # the first code also chooses the type
            total = np.logaddexp.reduce([normalizers(rows) for rows in logits], axis=0)
            return [total.astype(np.float32)] * len(groups)
        return [None] * len(groups)


def _best(group: _Rows, logits: Floats, norms: Floats | None, width: int) -> _Rows:
    found = step(group.trie, group.codes.shape[1], group.nodes, logits, group.scores, width, norms=norms)
    count = int(found.counts[0])
    rows, codes = found.rows[0, :count], found.codes[0, :count]
    nodes = Nodes(found.nodes.base[:count], found.nodes.delta[:count])
    return group.grown(rows, codes, nodes, found.scores[0, :count])


def _all(group: _Rows, logits: Floats, norms: Floats | None) -> _Rows:
    live = group.trie.children(group.codes.shape[1], group.nodes)
    offsets = group.scores - (normalizers(logits) if norms is None else norms)
    return group.grown(live.parent, live.code, live.nodes, child_scores(live.parent, live.code, logits, offsets))


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
