"""Dead rows and nodes against plain sets, and the compiled loops against their numpy twins."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import PackedRows, Row, Segment
from neo_runtime.trie.dead import Dead, compiled_emptied, compiled_union, numpy_emptied, numpy_union

SPACE = SidSpace((4, 8, 8))
keys = st.lists(st.integers(0, 255), min_size=1, max_size=120, unique=True).map(sorted)
numbers = st.lists(st.integers(0, 90), max_size=60, unique=True).map(sorted)


def ints(values: list[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def segment_of(sids: list[int], counts: list[int] | None) -> Segment:
    """One row on every leaf, or `counts`."""
    leaf_rows = None if counts is None else ints([0, *np.cumsum(counts).tolist()])
    size = len(sids) if counts is None else sum(counts)
    return Segment.build(SPACE, np.array(sids, np.uint64), leaf_rows, PackedRows.of([Row(str(i)) for i in range(size)]))


@given(keys, st.booleans(), st.data())
def test_a_node_is_dead_when_all_rows_below_it_are(sids: list[int], has_many: bool, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 3), min_size=len(sids), max_size=len(sids))) if has_many else None
    segment = segment_of(sids, counts)
    sid_of_row = np.repeat(sids, 1 if counts is None else counts).tolist()
    dead, gone = Dead.none(segment), set[int]()
    for _ in range(3):
        share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.95]))
        seed = data.draw(st.integers(0, 1 << 30))
        rows = np.flatnonzero(np.random.default_rng(seed).random(len(sid_of_row)) < share).astype(np.int32)
        dead, gone = dead.adding(segment, rows), gone | set(rows.tolist())
        assert dead.rows.tolist() == sorted(gone)
        assert bool(dead) == bool(gone)
        for depth, shift in enumerate(SPACE.shifts):
            prefixes = sorted({sid >> shift for sid in sids})
            live = {sid >> shift for row, sid in enumerate(sid_of_row) if row not in gone}
            assert dead.nodes[depth].tolist() == [n for n, prefix in enumerate(prefixes) if prefix not in live]
            assert dead.nodes[depth].dtype == np.int32


@given(numbers, numbers)
def test_unions_are_those_of_numpy(old: list[int], new: list[int]) -> None:
    mine, theirs = compiled_union(ints(old), ints(new)), numpy_union(ints(old), ints(new))
    assert [array.tolist() for array in mine] == [array.tolist() for array in theirs]
    assert mine[0].tolist() == sorted({*old, *new})


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200), st.data())
def test_emptied_parents_are_those_of_numpy(runs: list[int], data: st.DataObject) -> None:
    """Also where runs differ so much that the guesses of the compiled loop are far off."""
    first, seed = ints([0, *np.cumsum(runs).tolist()]), data.draw(st.integers(0, 1 << 30))
    share = data.draw(st.sampled_from([0.02, 0.5, 0.98]))
    dead = np.flatnonzero(np.random.default_rng(seed).random(int(first[-1])) < share).astype(np.int32)
    nodes = dead[np.random.default_rng(seed + 1).random(len(dead)) < 0.5]
    assert compiled_emptied(nodes, first, dead).tolist() == numpy_emptied(nodes, first, dead).tolist()
