"""Choose a token: greedy at temperature 0, else nucleus and top-k sampling from a seeded generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neo_runtime.engine.api import Decoding
from neo_runtime.trie.step import Floats, best

_FIRST_LOOK = 256  # tokens that mostly have all of top_p


class Sampler:
    """One request's source of choices."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._random = np.random.default_rng(decoding.seed)

    def choose(self, scores: Floats) -> int:
        """Index into logits or log-probabilities [n]; those at minus infinity are never chosen."""
        if self._decoding.temperature == 0:
            return int(np.argmax(scores))
        weights = np.exp((scores - scores.max()).astype(np.float64) / self._decoding.temperature)
        order = self._kept(scores, weights)
        cumulative = np.cumsum(weights if order is None else weights[order])
        place = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        return place if order is None else int(order[place])

    def _kept(self, scores: Floats, weights: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """The tokens to draw from, best first, ties in index order; None: all. Large vocabularies are not sorted."""
        top_k, top_p = self._decoding.top_k, self._decoding.top_p
        if not top_k and top_p >= 1:
            return None
        size = top_k or _FIRST_LOOK
        while True:
            order = best(scores, size)
            cumulative = np.cumsum(weights[order])
            wanted = top_p * (cumulative[-1] if top_k else weights.sum())
            if top_k or cumulative[-1] >= wanted or len(order) == len(scores):
                # The smallest set that reaches top_p, never empty.
                return order[: int(np.searchsorted(cumulative, wanted, side="left")) + 1]
            size *= 8

    def one(self, scores: Floats, width: int) -> NDArray[np.int64]:
        """As a `Choose` of the span search: one code at a time."""
        assert width == 1
        return np.array([self.choose(scores)] if len(scores) else [], np.int64)
