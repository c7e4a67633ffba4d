"""Semantic IDs of many items at once, as if the items had come one by one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.assign import MAX_TRIES
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.space import Keys

_BATCH = 4_096  # items without a place that are looked at together
_NEAREST = 32  # tuples of each that are: more are rarely needed
_SEARCHED = 64  # tuples at once where these are taken
_NOBODY = np.int64(2**63 - 1)

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
    by_path = np.lexsort((order, paths))
    ordered = paths[by_path]
    is_first = np.ones(len(paths), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    owners = _Owners(ordered[is_first], by_path[is_first], order)
    homeless = by_path[~is_first]
    homeless = homeless[np.argsort(order[homeless])]
    placing = _Placing(codebook, paths.copy(), owners, vectors)
    for start in range(0, len(homeless), _BATCH):
        placing.place(homeless[start : start + _BATCH])
        progress(min(start + _BATCH, len(homeless)), len(homeless))
    placing.place_robbed(int(_NOBODY))
    return placing.sids, placing.refused


class _Owners:
    """Who comes first on every path, and may stay there unless somebody before it needs the place."""

    def __init__(self, paths: Keys, items: NDArray[np.intp], order: NDArray[np.int32]) -> None:
        self._paths, self._items, self.order = paths, items, order

    def of(self, keys: Keys) -> NDArray[np.int64]:
        """The first items, -1 where a tuple is nobody's path."""
        places = np.minimum(self._paths.searchsorted(keys), len(self._paths) - 1)
        return np.where(self._paths[places] == keys, self._items[places], -1)

    def since(self, keys: Keys) -> NDArray[np.int64]:
        """When they come."""
        items = self.of(keys)
        return np.where(items < 0, _NOBODY, self.order[items])


class _Placing:
    """Items in the order in which they came, with those between that a place is taken from."""

    def __init__(self, codebook: Codebook, sids: Keys, owners: _Owners, vectors: Vectors) -> None:
        self._codebook, self.sids, self._owners, self._vectors = codebook, sids, owners, vectors
        self.refused: list[int] = []
        self._taken = set[int]()  # tuples, by items that did not come to them on their own path
        self._robbed: list[tuple[int, int]] = []

    def place(self, items: NDArray[np.intp]) -> None:
        numbers = self._owners.order[items].tolist()
        embeddings = self._vectors(numbers)
        nearest = self._nearest(self.sids[items], embeddings)
        owned_since = self._owners.since(nearest)
        rows = zip(numbers, items.tolist(), embeddings, nearest.tolist(), owned_since.tolist(), strict=True)
        for number, item, embedding, keys, since in rows:
            if self._robbed and self._robbed[0][0] < number:
                self.place_robbed(number)
            for key, other in zip(keys, since, strict=True):
                if other > number and key not in self._taken:
                    self._take(item, key, is_owned=other != _NOBODY)
                    break
            else:
                self._search(number, item, embedding)

    def place_robbed(self, before: int) -> None:
        """Those who came before."""
        while self._robbed and self._robbed[0][0] < before:
            number, item = heapq.heappop(self._robbed)
            self._search(number, item, self._vectors([number])[0])

    def _nearest(self, paths: Keys, embeddings: Floats) -> Keys:
        """The first tuples of `nearest_tuples`: those that differ from the path in the last code. [n, some]."""
        space, rest = self._codebook.space, embeddings
        codes = space.unpack(paths)
        for level, centroids in enumerate(self._codebook.centroids[:-1]):
            rest = rest - centroids[codes[:, level]]
        distances = self._codebook.distances(space.levels - 1, rest)
        count = min(_NEAREST, distances.shape[1])
        last = np.argpartition(distances, count - 1, axis=1)[:, :count]
        last = np.take_along_axis(last, np.argsort(np.take_along_axis(distances, last, 1), axis=1), 1)
        prefix = paths - codes[:, -1]
        found: Keys = prefix[:, None] + last.astype(np.uint64)
        return found

    def _search(self, number: int, item: int, embedding: Floats) -> None:
        """`sid.assign.nearest_free`, many tuples at a time."""
        left = MAX_TRIES
        for keys in self._tuples(embedding):
            some = keys[:left]
            for key, other in zip(some.tolist(), self._owners.since(some).tolist(), strict=True):
                if other > number and key not in self._taken:
                    self._take(item, key, is_owned=other != _NOBODY)
                    return
            left -= len(some)
            if not left:
                break
        self.refused.append(item)

    def _tuples(self, rest: Floats, level: int = 0, prefix: int = 0) -> Iterator[Keys]:
        """What `Codebook.nearest_tuples` gives, in pieces."""
        codebook = self._codebook
        codes = np.argsort(codebook.distances(level, rest[None])[0], kind="stable")
        keys = np.uint64(prefix) + (codes.astype(np.uint64) << np.uint64(codebook.space.shifts[level]))
        if level == codebook.space.levels - 1:
            for start in range(0, len(keys), _SEARCHED):
                yield keys[start : start + _SEARCHED]
            return
        for code, key in zip(codes.tolist(), keys.tolist(), strict=True):
            yield from self._tuples(rest - codebook.centroids[level][code], level + 1, key)

    def _take(self, item: int, sid: int, *, is_owned: bool) -> None:
        """`is_owned`: it may be somebody's path, who comes later."""
        self.sids[item] = sid
        self._taken.add(sid)
        owner = int(self._owners.of(np.array([sid], np.uint64))[0]) if is_owned else -1
        if owner >= 0:
            heapq.heappush(self._robbed, (int(self._owners.order[owner]), owner))
