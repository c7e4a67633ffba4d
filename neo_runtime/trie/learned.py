"""What a model is asked for that it never met: tuples of items that were published after it was trained.

A softmax learns to expect next to nothing of a code that never followed its prefix, however well it knows the prefix.
So such a tuple counts as the average learned one of those that it shares its longest learned prefix with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.levels import Ints, Levels, loops

Floats = NDArray[np.float32]


def _loops() -> Any:
    return loops("learned_kernel")


class LearnedTuples:
    """The tuples of one item type that a model was trained on, as a trie."""

    def __init__(self, space: SidSpace, keys: Keys) -> None:
        """`keys` uint64 [n], packed, strictly ascending."""
        self._levels = Levels.build(space, keys)

    def rescored(
        self, codes: NDArray[np.integer], logits: Floats, norms: Floats | None, bonus: float = 0.0
    ) -> tuple[Floats, Floats]:
        """`logits` [n, K] of what follows the prefixes `codes` [n, depth], those of codes that no training held after
        them replaced: by the average of the learned tuples below and the `bonus`, or by `norms` [n], a code that costs
        nothing, where the prefix itself was not learned and its last code has paid. And the `norms`; None: those of the
        learned codes alone.
        """
        depth = codes.shape[1]
        if norms is not None and len(self._levels.codes[0]) == logits.shape[1] and not depth:
            return logits, norms  # all first codes are known
        compiled, out = _loops(), np.empty_like(logits)
        rescore = numpy_rescore if compiled is None else compiled.rescore
        levels, own_norms = self._levels, np.empty(len(logits), np.float32)
        rescore(
            self._nodes(codes), levels.first_child[depth], levels.codes[depth], levels.leaf_bounds(depth), logits,
            np.zeros(len(logits), np.float32) if norms is None else norms, np.float32(bonus), out, own_norms,
        )  # fmt: skip
        return out, own_norms if norms is None else norms

    def follow(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which codes the learned tuples have after the prefixes `codes` [n, depth]: [n, K]. All, after one that was
        not learned.
        """
        depth, levels, nodes = codes.shape[1], self._levels, self._nodes(codes)
        first, is_known = levels.first_child[depth], nodes >= 0
        starts, counts = first[nodes], np.where(is_known, first[nodes + 1] - first[nodes], 0)
        found = np.repeat(~is_known[:, None], levels.space.level_sizes[depth], axis=1)
        children = np.arange(counts.sum()) + np.repeat(starts - counts.cumsum() + counts, counts)
        found[np.repeat(np.arange(len(codes)), counts), levels.codes[depth][children]] = True
        return found

    def _nodes(self, codes: NDArray[np.integer]) -> Ints:
        depth = codes.shape[1]
        if not depth:
            return np.full(len(codes), 0 if len(self._levels) else -1, np.int32)
        return self._levels.find_prefixes(depth, self._levels.space.pack(codes))


def warm_up() -> None:
    """See `step.warm_up`."""
    learned = LearnedTuples(SidSpace((2, 2)), np.zeros(1, np.uint64))
    learned.rescored(np.zeros((1, 1), np.int32), np.zeros((1, 2), np.float32), None)


def numpy_rescore(
    nodes: Ints,
    first_child: Ints,
    codes: NDArray[np.uint16],
    bounds: NDArray[np.integer],
    logits: Floats,
    norms: Floats,
    bonus: np.float32,
    out: Floats,
    own_norms: Floats,
) -> None:
    """See `LearnedTuples.rescored`: of prefixes by their node, -1 where it was not learned; into `out` [n, K] and, the
    norms of the learned codes alone or else the given ones, `own_norms` [n].
    """
    for row, node in enumerate(nodes.tolist()):
        out[row], own_norms[row] = norms[row], norms[row]
        if node >= 0:
            children = codes[first_child[node] : first_child[node + 1]]
            known = logits[row, children]
            leaves = np.float32(bounds[node + 1] - bounds[node])
            own_norms[row] = np.logaddexp.reduce(known)
            out[row] = own_norms[row] - np.log(leaves) + bonus
            out[row, children] = known
