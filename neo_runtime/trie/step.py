"""The step of a constrained beam search: exact best continuations, as many as there are and never one more.

`step` is the compiled one; `numpy_step` says the same in numpy, for tests and where numba cannot be had.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie.dead import warm_up as warm_up_dead
from neo_runtime.trie.learned import warm_up as warm_up_learned
from neo_runtime.trie.levels import Ints, loops
from neo_runtime.trie.levels import warm_up as warm_up_levels
from neo_runtime.trie.live import LiveTrie, Nodes, Wanted
from neo_runtime.trie.type_view import TypeView

Floats = NDArray[np.float32]
_NONE: Ints = np.empty(0, np.int32)


def _loops() -> Any:
    return loops("kernel")


class Steps(NamedTuple):
    """Per request b, best first: `counts[b]` continuations in row b of every array [requests, width].

    `rows` are counted from the request's first prefix. Nodes are flat: of request b from b * width on.
    """

    scores: Floats
    rows: Ints
    codes: Ints
    nodes: Nodes
    counts: NDArray[np.int64]


def normalizers(logits: Floats) -> Floats:
    """Logarithm of the sum of exponentials of every row."""
    norms = np.empty(len(logits), np.float32)
    if _loops() is not None:
        _loops().normalize(np.ascontiguousarray(logits, np.float32), norms)
        return norms
    top = logits.max(axis=1)
    np.add(top, np.log(np.exp(logits - top[:, None]).sum(axis=1)), out=norms)
    return norms


def step(
    trie: LiveTrie, depth: int, nodes: Nodes, logits: Floats, row_scores: Floats, width: int, *,
    norms: Floats | None = None, starts: NDArray[np.int64] | None = None,
) -> Steps:  # fmt: skip
    """The `width` best live children of prefixes of `depth` codes, for one request or for several on one trie.

    A child scores `row_scores[row] - norms[row] + logits[row, code]`, ties in (row, code) order; `norms` None: each
    row's own normaliser. `logits` float32 [rows, codes]; request b has rows [starts[b], starts[b + 1]); None: all one.
    """
    starts = np.array([0, len(row_scores)]) if starts is None else starts
    compiled = _loops()
    if compiled is None:
        return numpy_step(trie, depth, nodes, logits, row_scores, width, norms=norms, starts=starts)
    out = _empty(len(starts) - 1, width)
    compiled.step(
        np.ascontiguousarray(logits, np.float32), row_scores, row_scores if norms is None else norms, norms is None,
        starts, nodes.base, nodes.delta, *trie.base.depths[depth], *trie.delta.depths[depth],
        np.empty((8, width + compiled.ROOM + 1), np.uint64), np.zeros(-(-logits.shape[1] // 8) * 8, np.uint8),
        out.scores, out.rows, out.codes, *out.nodes, out.counts,
    )  # fmt: skip
    return out


def warm_up() -> None:
    """Compile now, or load what an earlier process compiled: the first use would wait for seconds."""
    trie = LiveTrie.of(TypeView.empty(SidSpace((2, 2))), Wanted(None, None, (_NONE, _NONE)))
    step(trie, 0, trie.root(), np.zeros((1, 2), np.float32), np.zeros(1, np.float32), 1)
    warm_up_learned()
    warm_up_changes()


def warm_up_changes() -> None:
    """The same for whoever only follows a catalog: what the next view is made with."""
    warm_up_levels()
    warm_up_dead()


def numpy_step(
    trie: LiveTrie, depth: int, nodes: Nodes, logits: Floats, row_scores: Floats, width: int, *,
    norms: Floats | None = None, starts: NDArray[np.int64],
) -> Steps:  # fmt: skip
    """See `step`."""
    norms = normalizers(logits) if norms is None else norms
    out = _empty(len(starts) - 1, width)
    for request, (first, end) in enumerate(pairwise(starts.tolist())):
        live = trie.children(depth, Nodes(nodes.base[first:end], nodes.delta[first:end]))
        scores = child_scores(live.parent, live.code, logits[first:end], row_scores[first:end] - norms[first:end])
        chosen = best(scores, width)
        count = out.counts[request] = len(chosen)
        out.scores[request, :count] = scores[chosen]
        out.rows[request, :count], out.codes[request, :count] = live.parent[chosen], live.code[chosen]
        flat = slice(request * width, request * width + count)
        out.nodes.base[flat], out.nodes.delta[flat] = live.nodes.take(chosen)
    return out


def child_scores(parent: Ints, code: Ints, logits: Floats, offsets: Floats) -> Floats:
    """Score of every child: its row's offset plus its code's logit. `logits` [rows, codes], `offsets` [rows]; [c]."""
    scores: Floats = offsets[parent] + logits[parent, code]
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


def _empty(requests: int, width: int) -> Steps:
    shape = (requests, width)
    nodes = Nodes(np.empty(requests * width, np.int32), np.empty(requests * width, np.int32))
    return Steps(
        np.empty(shape, np.float32), np.empty(shape, np.int32), np.empty(shape, np.int32), nodes,
        np.zeros(requests, np.int64),
    )  # fmt: skip
