"""Packed texts behave as sorted sets of texts, zero bytes and long common beginnings included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.trie.texts import Texts

# Ends that differ in zero bytes alone, after beginnings of every length around the words that are compared.
BEGINNINGS = st.sampled_from(["", "a", "b" * 7, "b" * 8, "b" * 9, "b" * 17, "é" * 4, "\U0001f600" * 2])
ENDS = st.sampled_from(["", "\0", "\0\0", "\0" * 9, "a", "\0a", "￿", "\U0001f600"])
SETS = st.sets(st.builds(str.__add__, BEGINNINGS, ENDS), max_size=24)


def listed(texts: Texts) -> list[str]:
    return [texts[number] for number in range(len(texts))]


@given(SETS, SETS)
@settings(max_examples=400, deadline=None)
def test_a_union_is_the_sorted_union_and_tells_where_every_text_went(mine: set[str], others: set[str]) -> None:
    union, numbers, other_numbers = Texts.of(sorted(mine)).union(Texts.of(sorted(others)))
    assert listed(union) == sorted(mine | others)
    assert [union[number] for number in numbers] == sorted(mine)
    assert [union[number] for number in other_numbers] == sorted(others)


@given(SETS, st.data())
@settings(max_examples=200, deadline=None)
def test_texts_that_nothing_refers_to_are_dropped(texts: set[str], data: st.DataObject) -> None:
    ordered = sorted(texts)
    ids = data.draw(st.lists(st.sampled_from(range(len(ordered))), max_size=9)) if ordered else []
    used, renumbered = Texts.of(ordered).used(np.array(ids, np.int32))
    assert listed(used) == sorted({ordered[number] for number in ids})
    assert [used[number] for number in renumbered] == [ordered[number] for number in ids]


@given(SETS, SETS)
@settings(max_examples=200, deadline=None)
def test_a_text_is_found_where_it_sorts(texts: set[str], wanted: set[str]) -> None:
    ordered = sorted(texts)
    packed = Texts.of(ordered)
    for text in wanted | texts:
        assert packed.place(text) == sum(other < text for other in ordered)
        assert packed.find(text) == (ordered.index(text) if text in texts else None)


def test_texts_that_are_copied_in_many_chunks_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ordered = sorted(f"{number:05d}" * (number % 7) for number in range(1, 500))
    packed = Texts.of(dict.fromkeys(ordered))
    every_third = np.arange(0, len(packed), 3, dtype=np.int32)
    monkeypatch.setattr("neo_runtime.trie.texts._CHUNK_BYTES", 64)
    used, _ = packed.used(every_third)
    assert listed(used) == [packed[number] for number in every_third]
