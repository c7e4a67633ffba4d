"""The trie against a plain dict: every generation, every prefix, under every filter, also through old views."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import LiveTrie, Nodes, Restriction, Row, TrieView, TypeView
from neo_runtime.trie.delta import Changes
from neo_runtime.trie.levels import compiled_find, numpy_find
from neo_runtime.trie.predicate import Condition, Equals, Exists, OneOf, Predicate, Range, matches
from neo_runtime.trie.step import Steps, best, normalizers, numpy_step, step
from neo_runtime.trie.windows import Window, is_available
from neo_runtime.types import ItemKey

SPACE = SidSpace((3, 5, 2, 4))
Leaf = tuple[Row, ...]
Model = dict[int, Leaf]
REGIONS = (None, "north", "south")
CHEAP = Predicate(must=(Condition("price", Range(less=3)),))
PREDICATES = (
    CHEAP,
    Predicate(must=(Condition("tags", Equals("a")),)),
    Predicate(should=(Condition("tags", OneOf(("b", "c"))), Condition("price", Equals(4)))),
    Predicate(must=(CHEAP,), must_not=(Condition("tags", Exists(True)),)),
)

sids = st.tuples(*(st.integers(0, size - 1) for size in SPACE.level_sizes)).map(SPACE.pack_one)
windows = st.none() | st.lists(
    st.builds(
        Window,
        st.none() | st.integers(0, 6),
        st.none() | st.integers(3, 9),
        st.sampled_from([(), ("north",), ("north", "south")]),
    ),
    max_size=2,
).map(tuple)
attributes = st.fixed_dictionaries(
    {}, optional={"price": st.integers(0, 5), "tags": st.lists(st.sampled_from("abc"), max_size=2)}
)
facts = st.tuples(attributes, windows)
# One item is on one SID at a time, so ids are made from it.
leaves = st.lists(facts, max_size=2)
changes = st.dictionaries(sids, leaves, max_size=12)
bases = st.sampled_from(["kept", "made anew", "of the generation before"])
histories = st.lists(st.tuples(changes, bases), min_size=1, max_size=6)
Drawn = tuple[bool, float, list[Predicate], int | None, str | None]
restrictions = st.tuples(
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
    st.lists(st.sampled_from(PREDICATES), max_size=2, unique=True),
    st.none() | st.integers(0, 8),
    st.sampled_from(REGIONS),
)
History = list[tuple[dict[int, list[tuple[dict[str, object], tuple[Window, ...] | None]]], str]]


def views_and_models(history: History, named: tuple[Predicate, ...] = (CHEAP,)) -> Iterator[tuple[TrieView, Model]]:
    """Every generation's view with the dict that it must equal."""
    view, model = TrieView(0, {"t": TypeView.empty(SPACE, named)}), Model()
    pairs = [(view, dict(model))]
    for generation, (change, base) in enumerate(history, start=1):
        entry = {
            sid: tuple(Row(f"{sid}-{n}", *fact) for n, fact in enumerate(given))  # type: ignore[arg-type]
            for sid, given in change.items()
        }
        before, changed = view.types["t"], Changes.of(entry)
        view = view.apply(generation, {"t": changed})
        model.update(entry)
        model = {sid: leaf for sid, leaf in model.items() if leaf}
        if base == "made anew":
            view = TrieView(generation, {"t": TypeView.of_base(view.types["t"].compacted(named), named)})
        elif base == "of the generation before":
            view = TrieView(generation, {"t": view.types["t"].over(before.compacted(named), changed.keys)})
        pairs.append((view, dict(model)))
    yield from pairs


def assert_equals(trie: LiveTrie, model: Model) -> None:
    """Children of every live prefix, in order, and the items on every leaf."""
    tuples = sorted(SPACE.unpack_one(sid) for sid in model)
    nodes, prefixes = trie.root(), [()]
    assert len(trie) == len(model)
    assert trie.is_empty == (not model)
    for depth in range(SPACE.levels):
        children = trie.children(depth, nodes)
        found = [prefixes[p] + (c,) for p, c in zip(children.parent.tolist(), children.code.tolist(), strict=True)]
        assert found == sorted({codes[: depth + 1] for codes in tuples})
        nodes, prefixes = children.nodes, found
    for row, codes in enumerate(prefixes):
        assert trie.leaf_items(nodes, row) == tuple(row.id for row in model[SPACE.pack_one(codes)])


@given(histories)
def test_every_generation_equals_the_dict_also_after_later_writes(history: History) -> None:
    for view, model in views_and_models(history):
        assert_equals(view.restrict().tries["t"], model)
        assert len(view.types["t"]) == len(model)
        for sid in range(3 << 6):
            assert view.types["t"].items_on(sid) == tuple(row.id for row in model.get(sid, ()))


def restricted(view: TrieView, model: Model, restriction: Drawn, random: object) -> tuple[LiveTrie, Model]:
    """A view under a drawn restriction, and what a dict of the permitted items alone holds."""
    use_allow, deny_share, predicates, now_us, region = restriction
    homes = {ItemKey("t", row.id): sid for sid, leaf in model.items() for row in leaf}
    draw = random.random  # type: ignore[attr-defined]
    allow = {k: s for k, s in homes.items() if draw() < 0.5} if use_allow else None
    deny = {k: s for k, s in homes.items() if draw() < deny_share}

    def permits(row: Row) -> bool:
        key = ItemKey("t", row.id)
        return (
            key not in deny
            and (allow is None or key in allow)
            and all(matches(predicate, row.attributes) for predicate in predicates)
            and (now_us is None or is_available(row.windows, now_us, region))
        )

    left = {sid: kept for sid, leaf in model.items() if (kept := tuple(row for row in leaf if permits(row)))}
    wanted = Restriction((), allow, deny, tuple(predicates), now_us, region)
    return view.restrict(wanted).tries["t"], left


@given(histories, st.randoms(use_true_random=False), restrictions)
@settings(max_examples=300)
def test_any_filters_together_equal_a_trie_of_the_permitted_items_alone(
    history: History, random: object, restriction: Drawn
) -> None:
    for view, model in views_and_models(history):
        assert_equals(*restricted(view, model, restriction, random))


@given(histories, st.randoms(use_true_random=False), restrictions, st.sampled_from([1, 2, 7, 200]))
def test_a_beam_finds_the_exact_best_and_never_more_than_there_are(
    history: History,
    random: object,
    restriction: Drawn,
    width: int,
) -> None:
    view, whole = list(views_and_models(history))[-1]
    trie, model = restricted(view, whole, restriction, random)
    scores = np.random.default_rng(0).normal(size=(4, 200, 5)).astype(np.float32)
    nodes, totals, prefixes = trie.root(), np.zeros(1, np.float32), [()]
    if trie.is_empty:
        return
    for depth in range(SPACE.levels):
        logits = np.repeat(scores[depth, :1, : SPACE.level_sizes[depth]], len(totals), axis=0)
        found = step(trie, depth, nodes, logits, totals, width)
        count = int(found.counts[0])
        pairs = zip(found.rows[0, :count].tolist(), found.codes[0, :count].tolist(), strict=True)
        prefixes = [(*prefixes[row], code) for row, code in pairs]
        nodes, totals = Nodes(found.nodes.base[:count], found.nodes.delta[:count]), found.scores[0, :count]
    assert len(prefixes) == len(set(prefixes)) <= width
    assert all(SPACE.pack_one(codes) in model for codes in prefixes)
    if width >= len(model):  # a beam as wide as what is permitted returns exactly that
        assert {SPACE.pack_one(codes) for codes in prefixes} == set(model)
        norms = [float(normalizers(scores[d, :1, :size])[0]) for d, size in enumerate(SPACE.level_sizes)]
        expected = sorted(
            -sum(float(scores[d, 0, c]) - norms[d] for d, c in enumerate(SPACE.unpack_one(s))) for s in model
        )
        assert np.allclose([-total for total in expected], totals, atol=1e-4)


@given(histories, st.randoms(use_true_random=False), restrictions, st.integers(1, 40), st.integers(0, 1 << 30))
@settings(max_examples=200)
def test_the_kernel_equals_numpy_bit_for_bit(
    history: History,
    random: object,
    restriction: Drawn,
    width: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    view, whole = list(views_and_models(history))[-1]
    trie, _ = restricted(view, whole, restriction, random)
    nodes, totals, starts = trie.root(), np.zeros(1, np.float32), np.array([0, 1])
    for depth in range(SPACE.levels):
        logits = rng.integers(-2, 2, (len(totals), SPACE.level_sizes[depth])).astype(np.float32)  # many ties
        norms = normalizers(logits)
        arguments = (trie, depth, nodes, logits, totals, width)
        compiled, reference = (f(*arguments, norms=norms, starts=starts) for f in (step, numpy_step))
        assert_same_steps(compiled, reference)
        assert_same_steps(step(*arguments, starts=starts), reference)
        kept = np.flatnonzero(np.arange(width) < compiled.counts[:, None])
        nodes, totals = compiled.nodes.take(kept), compiled.scores.ravel()[kept]
        middle = rng.integers(0, len(totals) + 1)  # from now on two requests, one maybe without a prefix
        starts = np.array([0, middle, len(totals)])


@given(
    st.integers(0, 1 << 30), st.sampled_from([1, 3, 30, 100]), st.sampled_from([0.02, 0.3, 1.0]), st.booleans(),
    st.sampled_from([None, 0.01, 0.05, 0.2, 0.9]),
)  # fmt: skip
@settings(max_examples=120)
def test_the_kernel_equals_numpy_where_levels_are_wide(
    seed: int, width: int, share: float, is_changed: bool, allowed: float | None
) -> None:
    """Rows that are long enough to be scanned, more candidates than are merged at once, a last part of 8 not full;
    also under filters that allow few, some and most.
    """
    rng, space = np.random.default_rng(seed), SidSpace((70, 181, 3))
    codes = np.argwhere(rng.random(space.level_sizes[:2]) < share)
    sids = np.unique(space.pack(np.column_stack([codes, rng.integers(0, 3, len(codes))]).astype(np.int32))).tolist()
    prices = rng.random(len(sids)).tolist()
    entry = {sid: (Row(str(sid), {"price": price}),) for sid, price in zip(sids, prices, strict=True)}
    view = TypeView.empty(space).apply(Changes.of(entry))
    view = TypeView.of_base(view.compacted())
    if is_changed:
        fresh = {sid: (Row(f"new-{sid}", {"price": rng.random()}),) * int(rng.integers(2)) for sid in sids[::3]}
        view = view.apply(Changes.of(fresh))
    predicates = () if allowed is None else (Predicate(must=(Condition("price", Range(less=allowed)),)),)
    trie = TrieView(1, {"t": view}).restrict(Restriction(predicates=predicates)).tries["t"]
    nodes, totals, starts = trie.root(), np.zeros(1, np.float32), np.array([0, 1])
    for depth, size in enumerate(space.level_sizes):
        logits = (rng.normal(size=(len(totals), size)) * 3).round(1).astype(np.float32)
        arguments = (trie, depth, nodes, logits, totals, width)
        compiled, reference = step(*arguments, starts=starts), numpy_step(*arguments, starts=starts)
        assert_same_steps(compiled, reference)
        count = int(compiled.counts[0])
        nodes, totals = Nodes(compiled.nodes.base[:count], compiled.nodes.delta[:count]), compiled.scores[0, :count]
        starts = np.array([0, count])


def assert_same_steps(one: Steps, other: Steps) -> None:
    assert one.counts.tolist() == other.counts.tolist()
    width = one.scores.shape[1]
    for request, count in enumerate(one.counts.tolist()):
        for mine, theirs in ((one.scores, other.scores), (one.rows, other.rows), (one.codes, other.codes)):
            assert mine[request, :count].tolist() == theirs[request, :count].tolist()
        flat = slice(request * width, request * width + count)
        assert one.nodes.base[flat].tolist() == other.nodes.base[flat].tolist()
        assert one.nodes.delta[flat].tolist() == other.nodes.delta[flat].tolist()


@given(st.integers(0, 700), st.integers(0, 700), st.sampled_from([1, 5, 40]), st.booleans(), st.integers(0, 1 << 30))
def test_keys_are_found_as_numpy_finds_them(n: int, wanted: int, skew: int, ascends: bool, seed: int) -> None:
    """Also where keys are so uneven that guesses are far off, and in any order."""
    rng = np.random.default_rng(seed)
    there = np.unique((rng.random(n) ** skew * 2.0**63).astype(np.uint64))
    keys = np.concatenate([rng.choice(there, wanted), rng.choice(there, wanted) + np.uint64(1)]) if n else there
    keys = np.concatenate([keys, np.array([0, (1 << 64) - 1], np.uint64)])[: 2 * wanted + 1]
    keys = np.sort(keys) if ascends else rng.permutation(keys)
    assert compiled_find(there, keys).tolist() == numpy_find(there, keys).tolist()


@given(st.integers(1, 200), st.integers(1, 5), st.integers(0, 1 << 30))
def test_normalizers_are_logarithms_of_sums_of_exponentials(codes: int, rows: int, seed: int) -> None:
    logits = (np.random.default_rng(seed).normal(size=(rows, codes)) * 20).astype(np.float32)
    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    expected = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    assert normalizers(logits) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(st.lists(st.floats(-10, 10, width=32), max_size=40), st.integers(1, 50))
def test_best_is_a_stable_sort_cut_off(values: list[float], width: int) -> None:
    scores = np.array(values, np.float32)
    assert best(scores, width).tolist() == np.argsort(-scores, kind="stable")[:width].tolist()
