"""The same model asked otherwise than it is served: beams without the trie, and samples instead of beams.

What constrained beams are compared with (NEO, ablations). Prompts, passes and scores are the engine's; which code
follows which is decided here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from neo_runtime.data.split import Asked, Fit, Split
from neo_runtime.engine.api import RankWork
from neo_runtime.engine.backbone import backbone_of
from neo_runtime.engine.context import Context
from neo_runtime.engine.passes import Feed, Head
from neo_runtime.evaluation.metrics import DEEPEST
from neo_runtime.evaluation.neo import BEAMS, NeoModels, NeoRanker
from neo_runtime.evaluation.ranker import NONE, Ranked
from neo_runtime.evaluation.results import Check
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import TaskPrompt
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say as said
from neo_runtime.sid.space import Keys
from neo_runtime.trie import LiveTrie, Restriction
from neo_runtime.trie.step import Floats, best, normalizers

_TOGETHER = 64
VALID, NEW = "tuples that are items", "tuples that are items outside the history"
Places = NDArray[np.int64]


class Tuples(NamedTuple):
    """Packed full tuples [n], best first, and the scores that say so [n]."""

    keys: Keys
    scores: Floats


Search = Generator[Feed, Sequence[Floats], Tuples]
Grow = Callable[[Places, Places], Generator[Feed, Sequence[Floats], Floats]]
"""From rows of the level before [n] and the code that each goes on with [n] to log-probabilities [n, K] of the next."""


class _OwnSearch(NeoRanker):
    """Next items of a trained model, by another search than the engine's. `told` hears what shares of the tuples that
    were found are items, and are items to recommend.
    """

    def __init__(
        self, models: NeoModels, seed: int, say: Callable[[str], None] = lambda _: None,
        told: Callable[[Check], None] = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(models, seed, say)
        self._told = told

    def fit(self, split: Split, fit: Fit) -> None:
        """See NeoRanker. The weights are loaded once more: what serves them holds them for its own passes."""
        super().fit(split, fit)
        self._model = NeoModel.load(self._trained.folder, dtype=torch.float32)
        self._space = self._model.vocabulary.spaces[split.item_type]
        self._renderer = PromptRenderer(self._model.tokenizer, self._model.vocabulary, remembers=True)
        columns = self._model.context_tokens + BEAMS * (self._space.levels - 1)
        self._backbone = backbone_of(self._model.lm, contexts=_TOGETHER, columns=columns)
        items = self._models.dataset.items
        with self._models.served(self._trained) as served:
            self._pinned = served.catalog.reader.pin([item.key for of_type in items.values() for item in of_type])
        sids = np.array([self._pinned.sids[item.key] for item in items[split.item_type]], np.uint64)
        self._items = np.argsort(sids)
        self._sids = sids[self._items]

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        """Lists are short where tuples are no items, or items of the history."""
        items, scores = np.full((len(asked), k), NONE, np.int32), np.full((len(asked), k), -np.inf, np.float32)
        found = valid = new = 0
        for first in range(0, len(asked), _TOGETHER):
            rows = range(first, min(first + _TOGETHER, len(asked)))
            works = [self._work(int(asked.rows[row]), asked.histories[row]) for row in rows]
            for row, tuples in zip(rows, self._searched(works), strict=True):
                places = self._places(tuples.keys)
                found, valid = found + len(places), valid + int((places != NONE).sum())
                kept = np.flatnonzero((places != NONE) & ~np.isin(places, asked.histories[row]))
                new, kept = new + len(kept), kept[:k]
                items[row, : len(kept)], scores[row, : len(kept)] = places[kept], tuples.scores[kept]
            self._say(f"{rows.stop:,} of {len(asked):,} users")
        for name, count in ((VALID, valid), (NEW, new)):
            self._told(Check(self._split.item_type, name, found, count / max(found, 1)))
        return Ranked(items, scores)

    def _places(self, keys: Keys) -> Places:
        """Of the items on tuples; NONE where nothing is."""
        near = np.minimum(np.searchsorted(self._sids, keys), len(self._sids) - 1)
        return np.where(self._sids[near] == keys, self._items[near], NONE)

    def _searched(self, works: Sequence[RankWork]) -> list[Tuples]:
        """All in the same passes, each with what it finds alone."""
        contexts = [self._backbone.context() for _ in works]
        searches = [self._asked(work, context) for work, context in zip(works, contexts, strict=True)]
        feeds, found = [next(search) for search in searches], list[Tuples]()
        while not found:  # all have as many levels
            following = list[Feed]()
            for search, answers in zip(searches, self._backbone.run(feeds), strict=True):
                try:
                    following.append(search.send(answers))
                except StopIteration as end:
                    found.append(end.value)
            feeds = following
        for context in contexts:
            context.close()
        return found

    def _asked(self, work: RankWork, context: Context) -> Search:
        assert isinstance(work.prompt, TaskPrompt)
        prompt = self._renderer.render(said(work.prompt, work.history), self._pinned.sids)
        vocabulary, depth = self._model.vocabulary, 0
        levels = [vocabulary.level_tokens(self._split.item_type, level) for level in range(self._space.levels)]

        def grow(parents: Places, codes: Places) -> Generator[Feed, Sequence[Floats], Floats]:
            nonlocal depth
            tokens, depth = levels[depth].start + codes, depth + 1
            (logits,) = yield context.grow([tokens], parents, [Head(levels[depth], np.arange(len(tokens)))])
            return _log_shares(logits)

        (logits,) = yield context.extend([*prompt, vocabulary.span_open], [Head(levels[0])])
        return (yield from self._search(work, _log_shares(logits), grow))

    @abstractmethod
    def _search(self, work: RankWork, shares: Floats, grow: Grow) -> Search:
        """`shares`: log-probabilities [1, K] of the first codes."""


class FreeBeams(_OwnSearch):
    """Beams over all codes of the asked type's levels: those that end on no item, or in the history, are lost."""

    def _search(self, work: RankWork, shares: Floats, grow: Grow) -> Search:
        codes, scores = np.zeros((1, 0), np.int64), np.zeros(1, np.float32)
        parents = np.zeros(1, np.int64)
        for level in range(self._space.levels):
            if level:
                shares = yield from grow(parents, codes[:, -1])
            every = (scores[:, None] + shares).ravel()
            chosen = best(every, work.max_results)
            parents, following = np.divmod(chosen, shares.shape[1])
            codes, scores = np.concatenate([codes[parents], following[:, None]], axis=1), every[chosen]
        return Tuples(self._space.pack(codes), scores)


class Samples(_OwnSearch):
    """As many draws as there are beams, at temperature 1, from what the trie leaves: the distinct ones, those that were
    drawn more often first, then likelier ones. Scores are counts.
    """

    def fit(self, split: Split, fit: Fit) -> None:
        super().fit(split, fit)
        self._random = np.random.default_rng(self._seed)

    def _search(self, work: RankWork, shares: Floats, grow: Grow) -> Search:
        trie = self._trie(work)
        codes, nodes, parents = np.zeros((1, 0), np.int64), trie.root(), np.zeros(1, np.int64)
        counts, logs = np.array([work.max_results]), np.zeros(1, np.float32)
        for level in range(self._space.levels):
            if level:
                shares = yield from grow(parents, codes[:, -1])
            live = trie.children(level, nodes)
            drawn, live_logs = self._drawn(counts, live.parent, shares[live.parent, live.code])
            kept = np.flatnonzero(drawn)
            parents = live.parent[kept].astype(np.int64)
            codes = np.concatenate([codes[parents], live.code[kept, None]], axis=1)
            nodes, counts, logs = live.nodes.take(kept), drawn[kept], logs[parents] + live_logs[kept]
        order = np.lexsort((-logs, -counts))
        return Tuples(self._space.pack(codes[order]), counts[order].astype(np.float32))

    def _drawn(self, counts: Places, parent: NDArray[np.int32], logs: Floats) -> tuple[Places, Floats]:
        """Of children by ascending parent: how many of the parent's draws each gets, and its share among them."""
        drawn, shares = np.zeros(len(parent), np.int64), np.empty(len(parent), np.float32)
        bounds = np.searchsorted(parent, np.arange(len(counts) + 1)).tolist()
        for row, first in enumerate(bounds[:-1]):
            siblings = slice(first, bounds[row + 1])
            shares[siblings] = _log_shares(logs[None, siblings])[0]
            weights = np.exp(shares[siblings].astype(np.float64))
            drawn[siblings] = self._random.multinomial(counts[row], weights / weights.sum())
        return drawn, shares

    def _trie(self, work: RankWork) -> LiveTrie:
        """Of the asked type, without the history."""
        name = self._split.item_type
        deny = {key: self._pinned.sids[key] for key in {*work.history, *work.constraints.deny}}
        return self._pinned.view.restrict(Restriction([name], deny=deny)).tries[name]


def _log_shares(logits: Floats) -> Floats:
    shares: Floats = logits - normalizers(logits)[:, None]
    return shares
