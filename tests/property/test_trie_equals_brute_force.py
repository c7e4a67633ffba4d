"""The trie against a plain dict: every generation, every prefix, under every filter, also through old views."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import LiveTrie, TrieView, TypeView
from neo_runtime.trie.step import best
from neo_runtime.types import ItemKey

SPACE = SidSpace((3, 5, 2, 4))
Model = dict[int, tuple[str, ...]]

sids = st.tuples(*(st.integers(0, size - 1) for size in SPACE.level_sizes)).map(SPACE.pack_one)
# One item is on one SID at a time, so ids are drawn per SID.
changes = st.dictionaries(sids, st.integers(0, 2), max_size=12)
histories = st.lists(st.tuples(changes, st.booleans()), min_size=1, max_size=6)


def bearing(sid: int, count: int) -> tuple[str, ...]:
    return tuple(f"{sid}-{number}" for number in range(count))


def views_and_models(history: list[tuple[dict[int, int], bool]]) -> list[tuple[TrieView, Model]]:
    """Every generation's view with the dict that it must equal."""
    view, model = TrieView(0, {"t": TypeView.empty(SPACE)}), Model()
    pairs = [(view, dict(model))]
    for generation, (change, compact) in enumerate(history, start=1):
        entry = {sid: bearing(sid, count) for sid, count in change.items()}
        view = view.apply(generation, {"t": entry})
        model.update(entry)
        model = {sid: ids for sid, ids in model.items() if ids}
        if compact:
            view = TrieView(generation, {"t": TypeView.of_base(view.types["t"].compacted())})
        pairs.append((view, dict(model)))
    return pairs


def assert_equals(trie: LiveTrie, model: Mapping[int, tuple[str, ...]]) -> None:
    """Children of every live prefix, in order, and the items on every leaf."""
    tuples = sorted(SPACE.unpack_one(sid) for sid in model)
    nodes, prefixes = trie.root(), [()]
    assert len(trie) == len(model)
    for depth in range(SPACE.levels):
        children = trie.children(depth, nodes)
        found = [prefixes[p] + (c,) for p, c in zip(children.parent.tolist(), children.code.tolist(), strict=True)]
        assert found == sorted({codes[: depth + 1] for codes in tuples})
        nodes, prefixes = children.nodes, found
    for row, codes in enumerate(prefixes):
        assert trie.leaf_items(nodes, row) == model[SPACE.pack_one(codes)]


@given(histories)
def test_every_generation_equals_the_dict_also_after_later_writes(history: list[tuple[dict[int, int], bool]]) -> None:
    for view, model in views_and_models(history):
        assert_equals(view.restrict().tries["t"], model)
        assert len(view.types["t"]) == len(model)
        for sid in range(3 << 6):
            assert view.types["t"].items_on(sid) == model.get(sid, ())


@given(histories, st.randoms(use_true_random=False), st.booleans())
def test_a_filter_equals_a_trie_of_the_allowed_items_alone(
    history: list[tuple[dict[int, int], bool]], random: object, use_allow: bool
) -> None:
    for view, model in views_and_models(history):
        homes = {ItemKey("t", item): sid for sid, ids in model.items() for item in ids}
        allow = {k: s for k, s in homes.items() if random.random() < 0.5} if use_allow else None  # type: ignore[attr-defined]
        deny = {k: s for k, s in homes.items() if random.random() < 0.3}  # type: ignore[attr-defined]
        left = {
            sid: kept
            for sid, ids in model.items()
            if (
                kept := tuple(
                    i for i in ids if ItemKey("t", i) not in deny and (allow is None or ItemKey("t", i) in allow)
                )
            )
        }
        assert_equals(view.restrict((), allow, deny).tries["t"], left)


@given(histories, st.sampled_from([1, 2, 7, 200]))
@settings(max_examples=50)
def test_a_beam_finds_the_exact_best_and_never_more_than_there_are(
    history: list[tuple[dict[int, int], bool]], width: int
) -> None:
    view, model = views_and_models(history)[-1]
    trie, scores = view.restrict().tries["t"], np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    nodes, totals, prefixes = trie.root(), np.zeros(1, np.float32), [()]
    for depth in range(SPACE.levels):
        children = trie.children(depth, nodes)
        new = totals[children.parent] + scores[depth][children.code]
        chosen = best(new, width)
        prefixes = [prefixes[children.parent[i]] + (int(children.code[i]),) for i in chosen]
        nodes, totals = children.nodes.take(chosen), new[chosen]
    assert len(prefixes) == len(set(prefixes)) <= width
    assert all(SPACE.pack_one(codes) in model for codes in prefixes)
    if width >= len(model):
        expected = sorted((-sum(float(scores[d][c]) for d, c in enumerate(SPACE.unpack_one(s))), s) for s in model)
        assert np.allclose([-total for total, _ in expected], totals, atol=1e-5)


@given(st.lists(st.floats(-10, 10, width=32), max_size=40), st.integers(1, 50))
def test_best_is_a_stable_sort_cut_off(values: list[float], width: int) -> None:
    scores = np.array(values, np.float32)
    assert best(scores, width).tolist() == np.argsort(-scores, kind="stable")[:width].tolist()
