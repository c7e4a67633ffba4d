"""Whatever a line of interactions or queries holds: a value that keeps the rules, or one error that names the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo_runtime.data.dataset import read_dataset
from neo_runtime.data.line import Interaction, interaction_line, parse_interaction, parse_query
from neo_runtime.data.split import Order, leave_one_out
from neo_runtime.errors import DataError
from neo_runtime.types import ItemKey
from tests.kit.interactions import sequences, write_folder
from tests.kit.mutations import JSON_VALUES, damaged, rearranged

PLACE = "interactions.jsonl, line 7"
INTERACTION = b'{"user": "u1", "item": "film/dune", "time": "2014-07-01T12:00:00Z"}'
QUERY = b'{"query": ["science fiction", "desert"], "items": ["film/dune", "film/alien"]}'
LINES = st.binary(max_size=64) | JSON_VALUES.map(json.dumps).map(str.encode)
QUICK = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(("parse", "whole"), [(parse_interaction, INTERACTION), (parse_query, QUERY)])
@given(data=st.data())
@QUICK
def test_any_line_is_a_value_or_a_named_error(
    parse: Callable[[bytes, str], object], whole: bytes, data: st.DataObject
) -> None:
    line = data.draw(LINES | damaged(whole) | rearranged(whole))
    try:
        parse(line, PLACE)
    except DataError as error:
        assert str(error).startswith(PLACE)
        str(error).encode()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(TEXTS, TEXTS.filter(lambda text: "/" not in text), TEXTS, st.none() | st.integers(-1_000, 100_000))
def test_what_is_written_is_read(user: str, item_type: str, item: str, day: int | None) -> None:
    key = ItemKey(item_type, item)
    assert parse_interaction(interaction_line(user, key, day=day), PLACE) == Interaction(user, key, day, None)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30))
@settings(QUICK, max_examples=50)
def test_columns_equal_a_dict_of_lists(tmp_path: Path, rows: list[tuple[int, int, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[2])
    lines = [{"user": f"u{user}", "item": f"film/{item}", "day": day} for user, item, day in rows]
    found = read_dataset(write_folder(tmp_path, {"film": 6}, lines))
    expected: dict[str, dict[int, int]] = {}
    for user, item, day in rows:
        expected.setdefault(f"u{user}", {}).setdefault(item, day)
    film = found.sequences["film"]
    assert {found.users[u]: list(row) for u, row in zip(film.users, film.items, strict=True)} == {
        user: list(items) for user, items in expected.items()
    }
    assert film.days is not None
    assert film.days.tolist() == [expected[user][item] for user in found.users for item in expected[user]]
    assert found.repeats == len(rows) - len(film.items.values)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=8))
def test_shuffling_keeps_what_each_user_did_each_day(rows: list[list[int]]) -> None:
    days = [sorted(row) for row in rows]
    items = [[*range(len(row))] for row in rows]
    split = leave_one_out(sequences(items, days), 8, Order.SHUFFLED).sequences
    assert split.days is not None
    assert split.days.tolist() == [day for row in days for day in row]
    for row, (found, when) in enumerate(zip(split.items, np.split(split.days, split.items.offsets[1:-1]), strict=True)):
        assert sorted(zip(when, found, strict=True)) == sorted(zip(days[row], items[row], strict=True))
