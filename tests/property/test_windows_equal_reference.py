"""Availability over arrays decides as the readable reference does for one item, at every instant, in every region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.trie.windows import NEVER_US, Availability, Window, Windows, is_available, next_change_us

TIMES = st.integers(-1, 6)
REGIONS = st.sampled_from(["at", "de", "é", ""])
WINDOWS = st.builds(
    Window, st.none() | TIMES, st.none() | TIMES, st.lists(REGIONS, max_size=2, unique=True).map(sorted).map(tuple)
)
ITEMS = st.lists(st.none() | st.lists(WINDOWS, max_size=3).map(tuple), max_size=8)
REQUEST = st.none() | REGIONS


def assert_decides(found: Windows, items: list[Availability], now_us: int, region: str | None) -> None:
    available, valid_until_us = found.available(now_us, region)
    assert available.tolist() == [is_available(windows, now_us, region) for windows in items]
    assert valid_until_us == min((next_change_us(windows, now_us, region) for windows in items), default=NEVER_US)


@given(ITEMS, TIMES, REQUEST)
@settings(max_examples=400, deadline=None)
def test_many_items_are_available_exactly_where_each_one_is(
    items: list[Availability], now_us: int, region: str | None
) -> None:
    assert_decides(Windows.of(iter(items)), items, now_us, region)


@given(ITEMS, TIMES, REQUEST)
@settings(max_examples=300, deadline=None)
def test_nothing_changes_before_the_announced_instant(
    items: list[Availability], now_us: int, region: str | None
) -> None:
    available, valid_until_us = Windows.of(items).available(now_us, region)
    assert valid_until_us > now_us
    for later in range(now_us, min(valid_until_us, 8)):
        assert Windows.of(items).available(later, region)[0].tolist() == available.tolist()


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
    assert Windows.of([None, (), licensed, worldwide]).available(5, None)[0].tolist() == [True, False, False, True]
    assert Windows.of([None, (), licensed, worldwide]).available(5, "at")[0].tolist() == [True, False, True, True]
    assert Windows.of([None, (), licensed, worldwide]).available(5, "de")[0].tolist() == [True, False, False, True]


def test_a_window_begins_with_its_start_and_ends_before_its_end() -> None:
    windows = Windows.of([(Window(10, 20),)])
    assert [windows.available(now, None)[0][0] for now in (9, 10, 19, 20)] == [False, True, True, False]
    assert [windows.available(now, None)[1] for now in (9, 10, 19, 20)] == [10, 20, 20, NEVER_US]


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    saved = Windows.of([(Window(10, 20),)]).arrays()
    with pytest.raises(ValueError, match="differ in length"):
        Windows.from_arrays(1, {**saved, "window_ends": saved["window_ends"][:0]})
