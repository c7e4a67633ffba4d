"""Decode one span: search the live tuples under a request's constraints, on one view from the first code to the last.

Beam search keeps the exact best continuations of every level; with one row and a sampler it draws a code at a time.
Item types of different lengths share the beam: a finished tuple keeps its place until better ones push it out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.engine.api import Ranked
from neo_runtime.engine.context import Branch, Context
from neo_runtime.engine.passes import LAST, Feed, Head
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.trie import LiveTrie, Nodes, RestrictedView
from neo_runtime.trie.learned import LearnedTuples
from neo_runtime.trie.levels import Ints
from neo_runtime.trie.step import Floats, best, child_scores, normalizers, step


class Normalization(Enum):
    """What a code's log-probability is relative to. Candidates are the same; scores and so rankings differ."""

    LEARNED = "learned"
    """First codes as LEVEL; further ones, those that the model learned after the same prefix, or as LEVEL where that is
    not known: the default.
    """

    LEVEL = "level"
    """All codes of the level (of every permitted type at the first level)."""

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


class _Rule(NamedTuple):
    """How children are taken; see `SpanDecoder.search`."""

    width: int
    choose: Choose | None
    bonus: float


class Found(NamedTuple):
    """Best tuples first, and the branch of the context's tree that holds all but the last code of the first one."""

    ranked: list[Ranked]
    branch: Branch


class SpanDecoder:
    """Span search for one model."""

    def __init__(
        self, vocabulary: Vocabulary, normalization: Normalization, learned: Mapping[str, LearnedTuples] | None = None
    ) -> None:
        """`learned`: of item types of which it is known what the model was trained on; others score as they are."""
        self._vocabulary, self._normalization, self._learned = vocabulary, normalization, learned or {}

    def opening(self, view: RestrictedView) -> list[Head]:
        """What the search needs to know of the opening marker's row."""
        return [head._replace(rows=LAST) for head in self._heads(_roots(view))]

    def search(
        self,
        context: Context,
        opened: list[Floats],
        view: RestrictedView,
        width: int,
        choose: Choose | None = None,
        *,
        bonus: float = 0.0,
    ) -> Generator[Feed, list[Floats], Found]:
        """The best tuples, at most `width`, fewer where fewer are live. `choose`: another choice among all children
        than the best. `opened`: what was found for the heads of `opening`. `bonus`: of tuples that were not learned.
        The context is left with its tree.
        """
        rule = _Rule(width, choose, bonus)
        groups = _cut(self._step(_roots(view), opened, rule), width, choose or best)
        while any(not group.is_finished for group in groups):
            finished = [group for group in groups if group.is_finished]
            growing = [group for group in groups if not group.is_finished]
            parents = np.concatenate([group.tree_rows for group in growing])
            growing = _numbered(growing)
            levels = [growing, *_forced(growing)]
            heads = [head for number, level in enumerate(levels) for head in self._heads(level, number * len(parents))]
            found = yield context.grow([self._tokens(level) for level in levels], parents, heads)
            each = len(found) // len(levels)
            for number in range(len(levels)):
                growing = self._step(growing, found[number * each : (number + 1) * each], rule)
                if number + 1 < len(levels):  # as many as before, in another order
                    growing = [group.take(np.argsort(group.tree_rows)) for group in growing]
            groups = _cut([*finished, *growing], width, choose or best)
        return _found(groups)

    def _tokens(self, groups: list[_Rows]) -> NDArray[np.int64]:
        """Of the last codes."""
        first = [self._vocabulary.level_tokens(g.item_type, g.codes.shape[1] - 1).start for g in groups]
        return np.concatenate([start + g.codes[:, -1].astype(np.int64) for start, g in zip(first, groups, strict=True)])

    def _heads(self, groups: list[_Rows], before: int = 0) -> list[Head]:
        """Each group's level, and in vocabulary mode the normaliser of each group's rows; `before`: rows of the feed
        before these."""
        rows = [before + group.tree_rows for group in groups]
        levels = [self._vocabulary.level_tokens(g.item_type, g.codes.shape[1]) for g in groups]
        heads = list(map(Head, levels, rows))
        if self._normalization is Normalization.VOCABULARY:
            # Padding rows of the head count too, as they do in `generate` and in the training loss.
            heads += [Head(slice(None), mine, normalizes=True) for mine in rows]
        return heads

    def _step(self, groups: list[_Rows], found: list[Floats], rule: _Rule) -> list[_Rows]:
        """The best live children of each group, as many as are wanted, or all where there is a `choose`; their
        `tree_rows` are the rows of the pass that they come from."""
        logits = found[: len(groups)]
        norms: list[Floats | None] = [None] * len(groups)
        if self._normalization is Normalization.VOCABULARY:
            norms = [*found[len(groups) :]]
        elif len(groups) > 1 and groups[0].codes.shape[1] == 0:  # the first code also chooses the type
            total = np.logaddexp.reduce([normalizers(rows) for rows in logits], axis=0)
            norms = [total.astype(np.float32)] * len(groups)
        grown = []
        for group, rows, norm in zip(groups, logits, norms, strict=True):
            if learned := self._learned.get(group.item_type):
                is_among_all = self._normalization is not Normalization.LEARNED or not group.codes.shape[1]
                norm = normalizers(rows) if norm is None and is_among_all else norm
                rows, norm = learned.rescored(group.codes, rows, norm, rule.bonus)
            is_best = rule.choose is None
            grown.append(_best(group, rows, norm, rule.width) if is_best else _all(group, rows, norm))
        return grown


def _roots(view: RestrictedView) -> list[_Rows]:
    return [
        _Rows(
            name, trie, np.zeros((1, 0), np.int32), trie.root(), np.zeros(1, np.float32), np.zeros(1, np.int64)
        )
        for name, trie in view.tries.items() if not trie.is_empty
    ]  # fmt: skip


def _forced(groups: list[_Rows]) -> list[list[_Rows]]:
    """The levels below these rows that leave no choice, as every row has one child: they can be fed along. The last
    codes never are.
    """
    forced = list[list[_Rows]]()
    while all(group.codes.shape[1] + 1 < group.trie.space.levels for group in groups):
        below = [group.trie.only_children(group.codes.shape[1], group.nodes) for group in groups]
        groups = [
            group.grown(live.parent, live.code, live.nodes, group.scores)
            for group, live in zip(groups, below, strict=True) if live is not None
        ]  # fmt: skip
        if len(groups) < len(below):
            break
        forced.append(groups)
    return forced


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


def _found(groups: list[_Rows]) -> Found:
    rows = [
        Found([
            Ranked(
                group.item_type, tuple(group.codes[row].tolist()), group.trie.leaf_items(group.nodes, row),
                float(group.scores[row]),
            )
        ], Branch(group.codes.shape[1] - 1, int(group.tree_rows[row])))
        for group in groups
        for row in range(len(group.scores))
    ]  # fmt: skip
    rows.sort(key=lambda found: -found.ranked[0].logprob)
    return Found([ranked for found in rows for ranked in found.ranked], rows[0].branch)
