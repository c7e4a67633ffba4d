"""What may come next in any row, against a reference that scans the whole row and walks plain tuples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.errors import NoEligibleItemError
from neo_runtime.model.grammar import SpanGrammar
from neo_runtime.model.logits_processor import GroundedLogitsProcessor
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import RestrictedView, Restriction, Row, TrieView, TypeView
from neo_runtime.trie.type_view import Changes
from neo_runtime.types import ItemKey

SPACES = {"a": SidSpace((3, 4)), "b": SidSpace((2, 3, 2)), "c": SidSpace((5,))}
VOCABULARY = Vocabulary(7, SPACES)
OPEN, CLOSE = VOCABULARY.span_open, VOCABULARY.span_close
Tuples = dict[str, set[tuple[int, ...]]]

sids = {
    name: st.tuples(*(st.integers(0, size - 1) for size in space.level_sizes)).map(space.pack_one)
    for name, space in SPACES.items()
}
# Of each type: items of the base, changes since (False: gone), and what the request denies.
contents = st.fixed_dictionaries(
    {
        name: st.tuples(st.sets(sid, max_size=8), st.dictionaries(sid, st.booleans(), max_size=5), st.sets(sid))
        for name, sid in sids.items()
    }
)
wanted_types = st.sampled_from([(), ("a",), ("b", "c")])
prefixes = st.one_of(
    st.tuples(st.just(name), st.tuples(*(st.integers(0, size - 1) for size in space.level_sizes)))
    for name, space in SPACES.items()
).flatmap(lambda span: st.integers(1, len(span[1]) + 2).map(lambda size: VOCABULARY.span(*span)[:size]))


def joined(parts: list[list[int]]) -> list[int]:
    return [token for part in parts for token in part]


pieces = st.one_of(prefixes, st.lists(st.integers(0, VOCABULARY.size + 2), max_size=3), st.just([OPEN]))
rows = st.lists(st.lists(pieces, max_size=3).map(joined), min_size=1, max_size=6)


def view_of(drawn: dict[str, tuple[set[int], dict[int, bool], set[int]]], wanted: tuple[str, ...]) -> RestrictedView:
    types, deny = {}, {}
    for name, (base, changes, denied) in drawn.items():
        view = TypeView.empty(SPACES[name]).apply(Changes.of({sid: (Row(f"{sid}"),) for sid in base}))
        view = TypeView.of_base(view.compacted())
        types[name] = view.apply(Changes.of({sid: (Row(f"{sid}"),) if live else () for sid, live in changes.items()}))
        deny |= {ItemKey(name, f"{sid}"): sid for sid in denied}
    return TrieView(9, types).restrict(Restriction(wanted, deny=deny))


def permitted(drawn: dict[str, tuple[set[int], dict[int, bool], set[int]]], wanted: tuple[str, ...]) -> Tuples:
    return {
        name: {
            SPACES[name].unpack_one(sid)
            for sid in base | changes.keys()
            if changes.get(sid, True) and sid not in denied and name in (wanted or SPACES)
        }
        for name, (base, changes, denied) in drawn.items()
    }


def reference(tuples: Tuples, row: list[int]) -> set[int] | None:
    """None: outside of a span."""
    if OPEN not in row:
        return None
    rest = row[len(row) - row[::-1].index(OPEN) :]
    allowed, is_span = set(), not rest
    for name, live in tuples.items():
        whole = {tuple(VOCABULARY.span(name, codes)[1:]) for codes in live}
        allowed |= {
            tokens[len(rest)] for tokens in whole if list(tokens[: len(rest)]) == rest and len(rest) < len(tokens)
        }
        levels = [VOCABULARY.level_tokens(name, level) for level in range(SPACES[name].levels)]
        if len(rest) <= len(levels):
            is_span |= all(level.start <= token < level.stop for token, level in zip(rest, levels, strict=False))
    return allowed if is_span else None


def padded(lines: list[list[int]]) -> np.ndarray:  # type: ignore[type-arg]
    width = max(map(len, lines))
    return np.array([[0] * (width - len(line)) + line for line in lines], np.int64).reshape(len(lines), width)


@given(contents, wanted_types, rows)
@settings(max_examples=500)
def test_what_may_come_next_equals_the_reference(drawn: dict, wanted: tuple[str, ...], lines: list[list[int]]) -> None:  # type: ignore[type-arg]
    view, tuples = view_of(drawn, wanted), permitted(drawn, wanted)
    if view.is_empty:
        assert not any(tuples.values())
        with pytest.raises(NoEligibleItemError):
            SpanGrammar(view, VOCABULARY)
        return
    allowed = SpanGrammar(view, VOCABULARY).allowed(padded(lines))
    expected = [reference(tuples, line) for line in lines]
    assert allowed.is_text.tolist() == [may is None for may in expected]
    found = list(zip(allowed.rows.tolist(), allowed.tokens.tolist(), strict=True))
    assert sorted(found) == sorted((row, token) for row, may in enumerate(expected) for token in may or ())
    assert allowed.stuck.tolist() == [row for row, may in enumerate(expected) if may == set()]


@given(contents, rows, st.integers(0, 3))
def test_the_mask_keeps_scores_and_forbids_the_rest(drawn: dict, lines: list[list[int]], spare: int) -> None:  # type: ignore[type-arg]
    view, tuples = view_of(drawn, ()), permitted(drawn, ())
    if view.is_empty:
        return
    processor = GroundedLogitsProcessor(view, VOCABULARY)
    assert processor.generation == 9
    ids, scores = torch.from_numpy(padded(lines)), torch.randn(len(lines), VOCABULARY.size + spare)
    expected = [reference(tuples, line) for line in lines]
    if ids.shape[1] and set() in expected:
        with pytest.raises(NoEligibleItemError, match=f"row {expected.index(set())} "):
            processor(ids, scores)
        return
    before = scores.clone()
    masked = processor(ids, scores)
    assert torch.equal(scores, before)
    for row, may in enumerate(expected):
        kept = set(range(CLOSE)) if may is None else may
        for token in range(scores.shape[1]):
            assert float(masked[row, token]) == (float(scores[row, token]) if token in kept else -math.inf)


@given(contents, wanted_types, st.lists(prefixes, max_size=4))
def test_whole_spans_are_read_as_the_items_on_them(
    drawn: dict,
    wanted: tuple[str, ...],
    spans: list[list[int]],  # type: ignore[type-arg]
) -> None:
    view, tuples = view_of(drawn, wanted), permitted(drawn, wanted)
    if view.is_empty:
        return
    expected = [
        (ItemKey(name, str(SPACES[name].pack_one(codes))),)
        for span in spans
        for name, live in tuples.items()
        for codes in live
        if span[: 1 + len(codes)] == VOCABULARY.span(name, codes)[:-1]
    ]
    assert SpanGrammar(view, VOCABULARY).items(joined(spans)) == expected
