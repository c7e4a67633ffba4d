"""Availability over arrays decides as the readable reference does for one item, at every instant, in every region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.trie.columns import Columns
from neo_runtime.trie.rank import RankBits
from neo_runtime.trie.row_filters import RowFilters
from neo_runtime.trie.windows import Availability, Window, Windows, is_available

TIMES = st.integers(-1, 6)
REGIONS = st.sampled_from(["at", "de", "é", ""])
WINDOWS = st.builds(
    Window, st.none() | TIMES, st.none() | TIMES, st.lists(REGIONS, max_size=2, unique=True).map(sorted).map(tuple)
)
ITEMS = st.lists(st.none() | st.lists(WINDOWS, max_size=3).map(tuple), max_size=8)
REQUEST = st.none() | REGIONS


def assert_decides(found: Windows, items: list[Availability], now_us: int, region: str | None) -> None:
    assert found.available(now_us, region).tolist() == [is_available(windows, now_us, region) for windows in items]


@given(ITEMS, TIMES, REQUEST)
@settings(max_examples=400, deadline=None)
def test_many_items_are_available_exactly_where_each_one_is(
    items: list[Availability], now_us: int, region: str | None
) -> None:
    assert_decides(Windows.of(iter(items)), items, now_us, region)


@given(ITEMS, st.lists(st.tuples(TIMES, REQUEST), min_size=1, max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_bitmap_moves_with_the_clock_forth_and_back(
    items: list[Availability], requests: list[tuple[int, str | None]], many: bool
) -> None:
    items = items * (9 if many else 1)  # many rows: few of them are looked at from one instant to the next
    filters = RowFilters(Columns.of([{}] * len(items)), Windows.of(items), {})
    for now_us, region in requests:
        words = filters.available(now_us, region)
        expected = [is_available(windows, now_us, region) for windows in items]
        if words is None:
            assert all(expected)
        else:
            assert RankBits(words, len(items)).test(np.arange(len(items))).tolist() == expected
            assert RankBits(words, len(items)).count == sum(expected)


@given(ITEMS, ITEMS, TIMES, REQUEST, st.data())
@settings(max_examples=300, deadline=None)
def test_taken_joined_and_saved_windows_are_those_of_the_rows(
    items: list[Availability], others: list[Availability], now_us: int, region: str | None, data: st.DataObject
) -> None:
    kept = [row for row in range(len(items)) if data.draw(st.booleans())]
    order = data.draw(st.permutations(range(len(kept) + len(others))))[: data.draw(st.integers(0, 16))]
    expected = [([items[row] for row in kept] + others)[row] for row in order]
    joined = Windows.of(items).take(np.array(kept, np.int64)).concat(Windows.of(others))
    found = joined.take(np.array(order, np.int64))
    saved = {name: np.frombuffer(array.tobytes(), array.dtype) for name, array in found.arrays().items()}
    for windows in (found, Windows.from_arrays(len(expected), saved)):
        assert [windows.row(row) for row in range(len(windows))] == expected
        assert_decides(windows, expected, now_us, region)


def test_a_window_of_regions_is_closed_to_a_request_that_names_none() -> None:
    licensed, worldwide = (Window(0, 10, ("at",)),), (Window(0, 10),)
    assert Windows.of([None, (), licensed, worldwide]).available(5, None).tolist() == [True, False, False, True]
    assert Windows.of([None, (), licensed, worldwide]).available(5, "at").tolist() == [True, False, True, True]
    assert Windows.of([None, (), licensed, worldwide]).available(5, "de").tolist() == [True, False, False, True]


def test_a_window_begins_with_its_start_and_ends_before_its_end() -> None:
    windows = Windows.of([(Window(10, 20),)])
    assert [windows.available(now, None)[0] for now in (9, 10, 19, 20)] == [False, True, True, False]


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    saved = Windows.of([(Window(10, 20),)]).arrays()
    with pytest.raises(ValueError, match="differ in length"):
        Windows.from_arrays(1, {**saved, "window_ends": saved["window_ends"][:0]})
