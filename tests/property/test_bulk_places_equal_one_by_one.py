"""Items that are placed together get the SIDs that they get one by one, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest

from neo_runtime.catalog import bulk_greedy, bulk_place
from neo_runtime.errors import EventError
from neo_runtime.sid.assign import nearest_free
from neo_runtime.sid.codebook import Codebook


def one_by_one(codebook: Codebook, paths: np.ndarray, order: np.ndarray, vectors: np.ndarray) -> tuple[list[int], set]:
    taken, sids, refused = set[int](), paths.tolist(), set[int]()
    for item in np.argsort(order).tolist():
        if sids[item] in taken:
            try:
                sids[item] = nearest_free(codebook, vectors[order[item]], lambda key: key not in taken)
            except EventError:
                refused.add(item)
                continue
        taken.add(sids[item])
    return sids, refused


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize(
    ("sizes", "count", "spread"), [((4, 4, 4), 60, 0.3), ((3, 5), 20, 1.0), ((6, 40), 200, 0.2), ((8, 8, 8), 400, 0.1)]
)
@pytest.mark.parametrize("seed", range(3))
def test_all_at_once_equals_one_by_one(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], count: int, spread: float, seed: int, *, is_compiled: bool
) -> None:
    if not is_compiled:
        monkeypatch.setattr(bulk_place, "compiled", lambda: bulk_greedy.take_nearest_free)
    monkeypatch.setattr(bulk_place, "_BATCH", 7)
    rng = np.random.default_rng(seed)
    codebook = Codebook(
        "film", "test", tuple(rng.normal(size=(k, 6)).astype(np.float32) / 2**m for m, k in enumerate(sizes))
    )
    vectors = (rng.normal(size=(3, 6))[rng.integers(3, size=count)] + spread * rng.normal(size=(count, 6))).astype("f4")
    order = rng.permutation(count).astype(np.int32)
    paths = codebook.space.pack(codebook.encode(vectors[order])[0])
    sids, refused = bulk_place.place_all(codebook, paths, order, lambda numbers: vectors[numbers])
    expected, without = one_by_one(codebook, paths, order, vectors)
    assert set(refused) == without
    kept = [item for item in range(count) if item not in without]
    assert [int(sids[item]) for item in kept] == [expected[item] for item in kept]
    assert len(set(paths.tolist())) < count
