"""Choose a token: greedy at temperature 0, else nucleus and top-k sampling from a seeded generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neo_runtime.engine.api import Decoding
from neo_runtime.trie.step import Floats


class Sampler:
    """One request's source of choices."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._random = np.random.default_rng(decoding.seed)

    def choose(self, scores: Floats) -> int:
        """Index into logits or log-probabilities [n]; those at minus infinity are never chosen."""
        if self._decoding.temperature == 0:
            return int(np.argmax(scores))
        order = np.argsort(-scores, kind="stable")
        if self._decoding.top_k:
            order = order[: self._decoding.top_k]
        weights = np.exp((scores[order] - scores[order[0]]).astype(np.float64) / self._decoding.temperature)
        cumulative = np.cumsum(weights)
        # The smallest set that reaches top_p, never empty.
        kept = int(np.searchsorted(cumulative, self._decoding.top_p * cumulative[-1], side="left")) + 1
        cumulative = cumulative[:kept]
        return int(order[np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")])

    def one(self, scores: Floats, width: int) -> NDArray[np.int64]:
        """As a `Choose` of the span search: one code at a time."""
        assert width == 1
        return np.array([self.choose(scores)] if len(scores) else [], np.int64)
