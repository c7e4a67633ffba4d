"""Semantic IDs of many items at once, as if the items had come one by one."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import EventError
from neo_runtime.sid.assign import nearest_free
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.space import Keys


def place_all(
    codebook: Codebook, paths: Keys, order: NDArray[np.int32], embedding: Callable[[int], Floats],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Keys, list[int]]:  # fmt: skip
    """A SID of its own for every item, and the items that are left without one since no tuple near them is free.

    Items come in `order` (distinct numbers): who comes first keeps its path; who finds it taken gets the nearest free
    tuple, which may be the path of a later one, who then has to look for another. `embedding` by number in `order`.
    """
    by_path = np.lexsort((order, paths))
    sorted_paths = paths[by_path]
    is_first = np.ones(len(paths), bool)
    is_first[1:] = sorted_paths[1:] != sorted_paths[:-1]
    firsts, owners = sorted_paths[is_first], by_path[is_first]
    sids, refused = paths.copy(), list[int]()
    homeless = [(int(order[item]), int(item)) for item in by_path[~is_first]]
    heapq.heapify(homeless)
    taken = set[int]()
    done = 0

    def owner_of(key: int) -> int:
        """The item that has this path and is the first to, -1 where there is none."""
        place = int(firsts.searchsorted(np.uint64(key)))
        return int(owners[place]) if place < len(firsts) and int(firsts[place]) == key else -1

    while homeless:
        number, item = heapq.heappop(homeless)

        def is_free(key: int, now: int = number) -> bool:
            if key in taken:
                return False
            owner = owner_of(key)
            return owner < 0 or int(order[owner]) > now

        try:
            sid = nearest_free(codebook, embedding(number), is_free)
        except EventError:
            refused.append(item)
        else:
            sids[item] = sid
            taken.add(sid)
            robbed = owner_of(sid)
            if robbed >= 0:
                heapq.heappush(homeless, (int(order[robbed]), robbed))
        done += 1
        progress(done, done + len(homeless))
    return sids, refused
