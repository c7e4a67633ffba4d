"""A data folder is read whole, or its first wrong line is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.data.amazon import convert_amazon
from neo_runtime.data.dataset import read_dataset
from neo_runtime.data.ragged import Ragged
from neo_runtime.data.slices import slices
from neo_runtime.data.split import Fit, Order, Part, hold_out_items, leave_one_out, other_types
from neo_runtime.errors import DataError
from tests.kit.amazon import FOLDER, needs_amazon
from tests.kit.interactions import sequences, write_folder

GOOD: list[dict[str, object]] = [
    {"user": "a", "item": "film/0", "day": 3},
    {"user": "b", "item": "film/1", "day": 1},
    {"user": "a", "item": "film/2", "day": 3},
    {"user": "a", "item": "film/0", "day": 4},
    {"user": "a", "item": "book/1", "time": "2014-07-01T12:00:00Z"},
    {"user": "b", "item": "book/0", "time": 1_404_216_000},
]


def test_a_folder_becomes_columns(tmp_path: Path) -> None:
    queries: list[dict[str, object]] = [
        {"query": "a film", "item": "film/1"},
        {"query": ["broad", "narrow"], "items": ["book/0", "book/1"]},
    ]
    dataset = read_dataset(write_folder(tmp_path, {"film": 3, "book": 2}, GOOD, queries))
    film, book = dataset.sequences["film"], dataset.sequences["book"]
    assert [list(row) for row in film.items] == [[0, 2], [1]]
    assert film.days is not None
    assert film.days.tolist() == [3, 3, 1]
    assert film.times_s is None
    assert book.times_s is not None
    assert book.times_s.tolist() == [1_404_216_000, 1_404_216_000]
    assert dataset.users == ["a", "b"]
    assert dataset.repeats == 1, "a user's second time with an item is no news"
    assert [query.text for query in dataset.queries] == ["a film", "broad narrow"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"user": "a"}, "item"),
        ({"user": 1, "item": "film/0", "day": 1}, "user"),
        ({"user": "", "item": "film/0", "day": 1}, "user is empty"),
        ({"user": "a", "item": "film", "day": 1}, "type/id"),
        ({"user": "a", "item": "film/9", "day": 9}, "film/9 is in no items file"),
        ({"user": "a", "item": "film/1", "day": 2}, "sort a user's lines"),
        ({"user": "a", "item": "film/1"}, "day or time"),
        ({"user": "a", "item": "film/1", "day": 9, "time": 9}, "day and time"),
        ({"user": "a", "item": "film/1", "time": 1_404_216_000_000}, "milliseconds"),
        ({"user": "a", "item": "film/1", "days": 9}, "days"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=r"interactions\.jsonl, line 7") as caught:
        read_dataset(write_folder(tmp_path, {"film": 3, "book": 2}, [*GOOD, line]))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"query": "x"}, "item and items"),
        ({"query": "x", "item": "film/0", "items": ["film/1"]}, "item and items"),
        ({"query": [], "item": "film/0"}, "empty"),
        ({"query": ["x", " "], "item": "film/0"}, "empty"),
        ({"query": "x", "items": ["film/0", "book/0"]}, "several types"),
        ({"query": "x", "item": "film/7"}, "film/7"),
    ],
)
def test_a_wrong_query_is_named(tmp_path: Path, line: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=r"queries\.jsonl, line 1") as caught:
        read_dataset(write_folder(tmp_path, {"film": 3, "book": 2}, GOOD, [line]))
    assert says in str(caught.value)


def test_items_are_items_and_stand_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"film": 3, "book": 2}, GOOD)
    (folder / "items_more.jsonl").write_text('{"type": "film", "id": "0", "title": "again"}\n')
    with pytest.raises(DataError, match=r"items_more\.jsonl, line 1: film/0 stands in an earlier line"):
        read_dataset(folder)
    (folder / "items_more.jsonl").write_text('{"type": "film", "id": "0", "deleted": true}\n')
    with pytest.raises(DataError, match="deletions"):
        read_dataset(folder)
    with pytest.raises(DataError, match="has no items"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"type": "film", "id": "9"}', r"line 1: title is missing .*an item line has type, id and title"),
        ('{"type": "film", "id": "9", "title": 7}', r"line 1: .*title"),
        ('{"type": "film", "id": "9", "title": "T", "embedding": [0.5, 0.5]}', r"line 1: embedding: .*leave the field"),
    ],
)
def test_what_is_wrong_with_an_item_is_named_with_its_line_and_field(tmp_path: Path, line: str, said: str) -> None:
    folder = write_folder(tmp_path, {"film": 3, "book": 2}, GOOD)
    (folder / "items_more.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=said):
        read_dataset(folder)


def test_the_last_item_is_the_test_and_the_one_before_validation() -> None:
    split = leave_one_out(sequences([[0, 1, 2, 3], [4, 5], [2, 1, 0]]), 6, Order.RAW)
    assert [list(row) for row in split.training(Fit.T)] == [[0, 1], [4, 5], [2]], "two items are all for training"
    assert [list(row) for row in split.training(Fit.TV)] == [[0, 1, 2], [4, 5], [2, 1]]
    test, validation = split.cases(Part.TEST), split.cases(Part.VALIDATION)
    assert test.asked.rows.tolist() == [0, 2]
    assert test.targets.tolist() == [3, 0]
    assert [list(row) for row in test.asked.histories] == [[0, 1, 2], [2, 1]]
    assert validation.targets.tolist() == [2, 1]
    assert [list(row) for row in validation.asked.histories] == [[0, 1], [2]]


def test_only_ties_are_shuffled_and_always_alike() -> None:
    rows, days = [[*range(20)]] * 50, [[0] * 5 + [1] * 10 + [2] * 5] * 50
    first, second = (leave_one_out(sequences(rows, days), 20, Order.SHUFFLED) for _ in range(2))
    assert first.sequences.items.values.tolist() == second.sequences.items.values.tolist()
    shuffled = first.sequences.items
    assert all(sorted(row[:5]) == [*range(5)] and sorted(row[15:]) == [*range(15, 20)] for row in shuffled)
    assert len({tuple(row) for row in shuffled}) > 1
    untouched = leave_one_out(sequences(rows), 20, Order.SHUFFLED)
    assert untouched.sequences.items.values.tolist() == [item for row in rows for item in row], "no days, no ties"


def test_new_items_are_in_no_training_part() -> None:
    random = np.random.default_rng(0)
    rows = [random.permutation(50)[:8].tolist() for _ in range(100)]
    split = hold_out_items(leave_one_out(sequences(rows), 50, Order.RAW), 0.2, seed=1)
    assert split.new_items.sum() == 10
    for fit in Fit:
        assert not split.new_items[split.training(fit).values].any()
    cases = split.cases(Part.TEST)
    counted = slices(split, cases)["target is a new item"]
    assert counted.tolist() == split.new_items[cases.targets].tolist()


def test_slices_divide_the_cases() -> None:
    rows = [[*range(length)] for length in (3, 4, 5, 9, 20, 30)]
    split = leave_one_out(sequences(rows), 40, Order.RAW)
    cases = split.cases(Part.TEST)
    found = slices(split, cases)
    for begin in ("history", "target seen"):
        total = sum(mask.astype(int) for name, mask in found.items() if name.startswith(begin))
        assert np.all(total == 1)
    assert found["history 2–4, new users"].tolist() == [True, True, True, False, False, False]


def test_other_types_give_their_training_part_alone() -> None:
    film = leave_one_out(sequences([[0, 1, 2, 3], [1, 2, 3]]), 4, Order.RAW)
    book = leave_one_out(sequences([[5, 6, 7], [8, 9]], item_type="book"), 10, Order.RAW)
    found = other_types({"film": film, "book": book}, "film", Part.TEST)
    assert found.names == ("book",)
    assert [list(row) for row in found.items] == [[5], [8, 9]]
    assert [list(row) for row in other_types({"film": film, "book": book}, "book", Part.TEST).items] == [[0, 1], [1]]


def test_times_tell_what_came_before_in_other_types(tmp_path: Path) -> None:
    film, book = [(0, 10), (1, 20), (2, 30), (3, 40)], [(0, 5), (1, 15), (2, 30), (3, 35)]
    lines = [
        {"user": "a", "item": f"{name}/{item}", "time": time_s}
        for name, row in (("film", film), ("book", book))
        for item, time_s in row
    ]
    dataset = read_dataset(write_folder(tmp_path, {"film": 4, "book": 4}, lines))
    splits = {name: leave_one_out(rows, 4, Order.SHUFFLED) for name, rows in dataset.sequences.items()}
    assert [list(row) for row in other_types(splits, "film", Part.VALIDATION).items] == [[0, 1]]
    assert [list(row) for row in other_types(splits, "film", Part.TEST).items] == [[0, 1, 2, 3]]
    assert [list(row) for row in other_types(splits, "book", Part.TEST).items] == [[0, 1, 2]]


def test_rows_of_different_lengths_stay_rows() -> None:
    rows = Ragged.of([[1, 2, 3], [], [4]])
    assert [list(row) for row in rows.take(np.array([2, 0, 1]))] == [[4], [1, 2, 3], []]
    assert [list(row) for row in rows.last(2)] == [[2, 3], [], [4]]
    assert rows.places.tolist() == [0, 1, 2, 0]
    assert rows.ages.tolist() == [2, 1, 0, 0]


def test_amazon_files_become_a_data_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    files = {
        "toys.items.jsonl.gz": '{"type": "toys", "id": "T1", "title": "One", "categories": ["Toys", "Games"]}\n'
        '{"type": "toys", "id": "T2", "title": "Two", "brand": "B"}\n',
        "toys.sequences.tsv.gz": "7\tT2 T1\t0 3\n",
    }
    for name, text in files.items():
        with gzip.open(source / name, "wt") as file:
            file.write(text)
    assert convert_amazon(source, tmp_path / "out") == {"toys": (2, 2)}
    dataset = read_dataset(tmp_path / "out")
    assert [item.attributes for item in dataset.items["toys"]] == [{"categories": ["Toys", "Games"]}, {"brand": "B"}]
    days = dataset.sequences["toys"].days
    assert days is not None
    assert days.tolist() == [0, 3]
    with pytest.raises(DataError, match=r"has no \*\.items"):
        convert_amazon(tmp_path / "out", tmp_path / "nothing")


@needs_amazon
@pytest.mark.data
@pytest.mark.slow
def test_amazon_is_the_data_of_the_published_tables(tmp_path: Path) -> None:
    convert_amazon(FOLDER, tmp_path)
    dataset = read_dataset(tmp_path)
    counts = {name: (len(rows.users), len(dataset.items[name])) for name, rows in dataset.sequences.items()}
    assert counts == {"beauty": (22_363, 12_101), "toys": (19_412, 11_924), "office": (4_905, 2_420)}
    beauty = dataset.sequences["beauty"]
    leaks = {}
    for order in Order:
        cases = leave_one_out(beauty, 12_101, order).cases(Part.TEST)
        leaks[order] = np.mean(cases.targets > [row[-1] for row in cases.asked.histories])
    assert leaks[Order.RAW] == pytest.approx(0.712, abs=0.001), "ids of a day ascend in the file"
    assert leaks[Order.SHUFFLED] < 0.54
