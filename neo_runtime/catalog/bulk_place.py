"""Semantic IDs of many items at once, as if the items had come one by one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_greedy import compiled
from neo_runtime.sid.assign import MAX_TRIES
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.space import Keys

_BATCH = 4_096  # items without a place that are looked at together
_NOBODY = np.int64(2**63 - 1)

Items = NDArray[np.intp]
Vectors = Callable[[list[int]], Floats]
"""Embeddings by the items' numbers in the order in which they came."""


def place_all(
    codebook: Codebook, paths: Keys, order: NDArray[np.int32], vectors: Vectors,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Keys, list[int]]:  # fmt: skip
    """A SID of its own for every item, and the items that are left without one since no tuple near them is free.

    Items come in `order` (distinct numbers): who comes first keeps its path; who finds it taken gets the nearest free
    tuple, which may be the path of a later one, who then has to look for another.
    """
    by_path = np.argsort(paths)
    ordered = paths[by_path]
    is_first = np.ones(len(paths), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    met = ~is_first
    met[:-1] |= ~is_first[1:]
    some = by_path[met]  # where several meet, in their order
    by_path[met] = some[np.lexsort((order[some], paths[some]))]
    homeless = by_path[~is_first]
    homeless = homeless[np.argsort(order[homeless])]
    placing = _Placing(codebook, paths.copy(), order, vectors, (ordered[is_first], by_path[is_first]), len(homeless))
    del by_path, ordered, is_first
    for start in range(0, len(homeless), _BATCH):
        placing.place(homeless[start : start + _BATCH])
        progress(min(start + _BATCH, len(homeless)), len(homeless))
    placing.place_robbed()
    return placing.sids, placing.refused


class _Placing:
    """Items in the order in which they came, with those between that a place is taken from.

    `owners`: who comes first on every path, and may stay there unless somebody before it needs the place. A chain of
    items that take each other's paths begins with a homeless one and ends on a tuple that is nobody's path: there are
    at most so many of these.
    """

    def __init__(
        self, codebook: Codebook, sids: Keys, order: NDArray[np.int32], vectors: Vectors,
        owners: tuple[Keys, Items], homeless: int,
    ) -> None:  # fmt: skip
        self._codebook, self.sids, self._order, self._vectors = codebook, sids, order, vectors
        self._paths, self._owners = owners
        self._since = order[self._owners].astype(np.int64)
        self.refused: list[int] = []
        self._robbed: list[tuple[int, int]] = []
        bits = max(1, (2 * homeless).bit_length())
        self._taken, self._shift = np.full(1 << bits, self._paths[0]), np.uint64(64 - bits)

    def place(self, items: Items) -> None:
        """Also those robbed who came before the last of them."""
        items = np.concatenate([items, self._pop_robbed(int(self._order[items[-1]]))])
        self._place(items[np.argsort(self._order[items])])

    def place_robbed(self) -> None:
        """All of them."""
        while self._robbed:
            self._place(self._pop_robbed(int(_NOBODY)))

    def _pop_robbed(self, before: int) -> Items:
        found = list[int]()
        while self._robbed and self._robbed[0][0] < before and len(found) < _BATCH:
            found.append(heapq.heappop(self._robbed)[1])
        return np.array(found, np.intp)

    def _place(self, items: Items) -> None:
        numbers = self._order[items].astype(np.int64)
        embeddings = self._vectors(numbers.tolist())
        prefixes, distances = self._nearest(self.sids[items], embeddings)
        at = 0
        while True:
            at = self._take(items, numbers, prefixes, distances, at)
            if at == len(items):
                return
            if self._robbed and self._robbed[0][0] < numbers[at]:
                self._place(self._pop_robbed(int(numbers[at])))
            else:
                self._search(items[at : at + 1], numbers[at : at + 1], embeddings[at])
                at += 1

    def _take(self, items: Items, numbers: NDArray[np.int64], prefixes: Keys, distances: Floats, at: int = 0) -> int:
        """The nearest free of its tuples for each item, as far as it goes."""
        sids, robbed = self.sids[items], np.empty(len(items), np.int64)
        before = np.int64(self._robbed[0][0] if self._robbed else _NOBODY)
        with np.errstate(over="ignore"):
            end, count = compiled()(
                self._paths, self._since, numbers, prefixes, distances, at, before, self._taken, self._shift, sids,
                robbed,
            )  # fmt: skip
        self.sids[items] = sids
        for owner in self._owners[robbed[:count]].tolist():
            heapq.heappush(self._robbed, (int(self._order[owner]), owner))
        return end

    def _nearest(self, paths: Keys, embeddings: Floats) -> tuple[Keys, Floats]:
        """The first tuples of `nearest_tuples` are those that differ from the path in the last code."""
        space, rest = self._codebook.space, embeddings
        codes = space.unpack(paths)
        for level, centroids in enumerate(self._codebook.centroids[:-1]):
            rest = rest - centroids[codes[:, level]]
        return paths - codes[:, -1], self._codebook.distances(space.levels - 1, rest)

    def _search(self, item: Items, number: NDArray[np.int64], embedding: Floats) -> None:
        """`sid.assign.nearest_free` for one item."""
        left = MAX_TRIES
        for prefix, distances in self._prefixes(embedding):
            if left < distances.size:
                distances[0, np.argsort(distances[0], kind="stable")[left:]] = np.inf
            if self._take(item, number, np.array([prefix], np.uint64), distances):
                return
            left -= distances.size
            if left <= 0:
                break
        self.refused += item.tolist()

    def _prefixes(self, rest: Floats, level: int = 0, prefix: int = 0) -> Iterator[tuple[int, Floats]]:
        """All but the last code of what `Codebook.nearest_tuples` gives, and the distances of the last."""
        codebook = self._codebook
        distances = codebook.distances(level, rest[None])
        if level == codebook.space.levels - 1:
            yield prefix, distances
            return
        for code in np.argsort(distances[0], kind="stable").tolist():
            key = prefix + (code << codebook.space.shifts[level])
            yield from self._prefixes(rest - codebook.centroids[level][code], level + 1, key)
