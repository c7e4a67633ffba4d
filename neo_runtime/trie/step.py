"""The step of a constrained beam search: exact best continuations, as many as there are and never one more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neo_runtime.trie.live import Children

Floats = NDArray[np.float32]


def child_scores(children: Children, code_scores: Floats, row_scores: Floats) -> Floats:
    """Score of every child: its row's score plus its code's. `code_scores` [rows, K], `row_scores` [rows]; [c]."""
    scores: Floats = code_scores[children.parent, children.code] + row_scores[children.parent]
    return scores


def best(scores: Floats, width: int) -> NDArray[np.int64]:
    """Indices of the `width` highest scores, best first, ties in index order; fewer where there are fewer."""
    if len(scores) > width:
        threshold = np.partition(scores, len(scores) - width)[len(scores) - width]
        indices = np.flatnonzero(scores >= threshold)
    else:
        indices = np.arange(len(scores))
    order = np.argsort(-scores[indices], kind="stable")[:width]
    return indices[order]
