"""The grammar of a grounded answer, for decode loops that are not ours: which tokens may come next, row by row.

Inside a span `[SID] c1 … cM [/SID]` only tuples of live items, outside of it any text and the opening marker (NEO,
Inference). Everything is read from a row's last tokens: rows may be reordered, copied or dropped between two calls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neo_runtime.errors import MismatchError, NoEligibleItemError
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import LiveTrie, RestrictedView
from neo_runtime.types import ItemKey

Tokens = NDArray[np.int64]


class Allowed(NamedTuple):
    """What may come next in n rows.

    `is_text` bool [n]: outside of a span, so all text and the opening marker. In the other rows exactly the pairs
    (`rows[i]`, `tokens[i]`), int64 [pairs].
    """

    is_text: NDArray[np.bool_]
    rows: NDArray[np.int64]
    tokens: Tokens

    @property
    def stuck(self) -> NDArray[np.int64]:
        """Rows that end in a prefix of no live item: nothing may follow."""
        counts = np.bincount(self.rows, minlength=len(self.is_text))
        return np.flatnonzero(~self.is_text & (counts == 0))


class _Type(NamedTuple):
    """Codes of one item type as tokens: `first[m]` is code 0 of level m. `trie` None: nothing of it may come."""

    name: str
    space: SidSpace
    first: Tokens
    trie: LiveTrie | None

    def read(self, tokens: Tokens) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokens [n, depth] as codes of the first levels, and which rows are that: [n, depth], bool [n]."""
        depth = tokens.shape[1]
        codes = tokens - self.first[:depth]
        is_mine: NDArray[np.bool_] = np.all((codes >= 0) & (codes < self.space.level_sizes[:depth]), axis=1)
        return codes, is_mine

    def followers(self, codes: NDArray[np.int64], close: int) -> tuple[NDArray[np.integer], Tokens]:
        """(row, token) of all that may follow prefixes [n, depth]: the next codes, or `close` behind a whole tuple."""
        if self.trie is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        depth = codes.shape[1]
        nodes = self.trie.find(depth, self.space.pack(codes))
        if depth == self.space.levels:
            rows = np.flatnonzero((nodes.base >= 0) | (nodes.delta >= 0))
            return rows, np.full(len(rows), close)
        children = self.trie.children(depth, nodes)
        return children.parent, self.first[depth] + children.code


class SpanGrammar:
    """What a model with `vocabulary` may emit from one view, that is from one generation under one set of constraints.

    NoEligibleItemError where the view is empty, MismatchError where its codes are not those of the vocabulary.
    """

    def __init__(self, view: RestrictedView, vocabulary: Vocabulary) -> None:
        if view.is_empty:
            raise NoEligibleItemError("the constraints leave no item to generate")
        for name, trie in view.tries.items():
            if vocabulary.spaces.get(name) != trie.space:
                known = vocabulary.spaces.get(name)
                raise MismatchError(f"{name}: the catalog has {trie.space}, the model {known}")
        self.view, self.vocabulary = view, vocabulary
        self._types = [
            _Type(name, space, _first_tokens(vocabulary, name), view.tries.get(name))
            for name, space in vocabulary.spaces.items()
        ]
        self._openings = np.concatenate(
            [
                each.first[0] + each.trie.children(0, each.trie.root()).code
                for each in self._types
                if each.trie is not None
            ]
        )

    @property
    def lookback(self) -> int:
        """Tokens at the end of a row that decide what may come next: a marker and the codes of the longest span."""
        return 1 + max(space.levels for space in self.vocabulary.spaces.values())

    def allowed(self, tokens: Tokens) -> Allowed:
        """What may follow rows [n, length], of which only the last `lookback` tokens are looked at.

        A marker that something else than codes in their order follows opens no span.
        """
        tails = tokens[:, -self.lookback :]
        is_open = tails == self.vocabulary.span_open
        behind = np.logical_and.accumulate(~is_open[:, ::-1], axis=1).sum(axis=1)
        depths = np.where(is_open.any(axis=1), behind, -1)  # tokens since the last marker
        opened = np.flatnonzero(depths == 0)
        is_text = depths != 0
        pairs = [(np.repeat(opened, len(self._openings)), np.tile(self._openings, len(opened)))]
        for depth in np.unique(depths[depths > 0]).tolist():
            rows = np.flatnonzero(depths == depth)
            for each in self._types:
                if depth > each.space.levels:
                    continue
                codes, is_mine = each.read(tails[rows, -depth:])
                mine = rows[is_mine]
                if len(mine):
                    is_text[mine] = False
                    at, following = each.followers(codes[is_mine], self.vocabulary.span_close)
                    pairs.append((mine[at], following))
        return Allowed(is_text, *map(np.concatenate, zip(*pairs, strict=True)))

    def items(self, tokens: ArrayLike) -> list[tuple[ItemKey, ...]]:
        """The items of each whole span in a row of tokens, as the view has them: several on a shared SID, best first.

        Spans of what is not live or not permitted are left out.
        """
        row = np.asarray(tokens, np.int64)
        return [
            items for at in np.flatnonzero(row == self.vocabulary.span_open) if (items := self._items(row[at + 1 :]))
        ]

    def _items(self, tokens: Tokens) -> tuple[ItemKey, ...]:
        for each in self._types:
            levels = each.space.levels
            if each.trie is None or len(tokens) < levels:
                continue
            codes, is_mine = each.read(tokens[None, :levels])
            if is_mine[0]:
                nodes = each.trie.find(levels, each.space.pack(codes))
                return tuple(ItemKey(each.name, item_id) for item_id in each.trie.leaf_items(nodes, 0))
        return ()


def _first_tokens(vocabulary: Vocabulary, item_type: str) -> Tokens:
    levels = range(vocabulary.spaces[item_type].levels)
    return np.array([vocabulary.level_tokens(item_type, level).start for level in levels], np.int64)
