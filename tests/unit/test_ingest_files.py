"""Item files and the event file: every line once, bad ones named, nothing half published, nothing read twice."""

from __future__ import annotations

import gzip
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from neo_runtime.catalog.bulk_lines import Phases
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import RawRecord
from neo_runtime.config import Settings
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.bulk import (
    BATCH,
    BYTE_ORDER_MARK,
    checked,
    count_lines,
    load_files,
    publish_files,
    publish_lines,
    read_lines,
    read_upserts,
)
from neo_runtime.ingest.eventfile import TOPIC, EventFileSource
from neo_runtime.ingest.line import decode_line
from neo_runtime.types import ItemKey
from tests.kit import dump, tiny

BOOKS = tiny.codebooks()


def line(item: str, **fields: object) -> bytes:
    key = ItemKey.parse(item)
    return json.dumps(
        {"type": key.type, "id": key.id, "title": "T", "embedding": tiny.vector(key).tolist(), **fields}
    ).encode()


GOOD = [line(f"film/f{number}", popularity=number) for number in range(5)]
BAD = b'{"type": "film", "id": "bad"}'


def lines_of(path: Path) -> list[tuple[int, bytes]]:
    return list(read_lines(str(path)))


def write(path: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path.write_bytes(b"".join(line + end for line in lines))
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = Catalog.create(tmp_path / "catalog", BOOKS)
    yield made
    made.close()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_come_with_their_numbers_blank_ones_left_out(tmp_path: Path, end: bytes) -> None:
    path = write(tmp_path / "x.jsonl", GOOD[0], b"", b"  \t", GOOD[1], end=end)
    assert lines_of(path) == [(1, GOOD[0]), (4, GOOD[1])]
    assert count_lines(str(path)) == 2


def test_a_byte_order_mark_and_a_missing_last_newline_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(BYTE_ORDER_MARK + GOOD[0] + b"\n" + GOOD[1])
    assert lines_of(path) == [(1, GOOD[0]), (2, GOOD[1])]


def test_a_byte_order_mark_elsewhere_is_content(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", GOOD[0], BYTE_ORDER_MARK + GOOD[1])
    with pytest.raises(EventError, match="line 2"):
        read_upserts([path])


def test_a_compressed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(BYTE_ORDER_MARK + b"\n".join(GOOD)))
    assert lines_of(path) == list(enumerate(GOOD, start=1))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"x" * 1_000, mtime=0)[:-12], b"no gzip", gzip.compress(b"x", mtime=0)[:8], b"\x1f\x8b"],
    ids=["cut in the middle", "no gzip", "cut in the header", "two bytes"],
)
def test_a_compressed_file_that_is_cut_or_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(StartupError, match=r"x\.jsonl\.gz cannot be read"):
        lines_of(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.jsonl", tmp_path):
        with pytest.raises(StartupError, match="cannot be read"):
            lines_of(path)


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(GOOD))))
    assert load_files(catalog, ["-"])["upserted"] == len(GOOD)
    assert count_lines("-") == 0


def test_loading_again_changes_nothing(tmp_path: Path, catalog: Catalog) -> None:
    path = str(write(tmp_path / "x.jsonl", *(line(f"film/f{n}", event_time="2025-06-01T00:00:00Z") for n in range(9))))
    assert load_files(catalog, [path])["upserted"] == 9
    before, leaves = dump.tables(catalog.store), catalog.reader.view().types["film"].compacted().keys.tolist()
    totals = load_files(catalog, [path])
    assert (totals["unchanged"], totals["upserted"], totals["dead_letters"]) == (9, 0, 0)
    after = dump.tables(catalog.store)
    assert {table for table in after if after[table] != before[table]} <= {"meta", "log"}
    assert catalog.reader.view().types["film"].compacted().keys.tolist() == leaves


def test_loading_counts_its_way_through_all_files_in_batches(tmp_path: Path, catalog: Catalog) -> None:
    many = [line(f"film/f{number % 7}", popularity=number) for number in range(BATCH + 3)]
    files = [str(write(tmp_path / "1.jsonl", *many)), str(write(tmp_path / "2.jsonl", *GOOD))]
    load_files(catalog, [files[1]])
    seen: list[tuple[str, int, int]] = []
    totals = load_files(catalog, files, Phases(lambda what: lambda done, total: seen.append((what, done, total))))
    assert seen == [("loading", BATCH, BATCH + 8), ("loading", BATCH + 8, BATCH + 8)]
    assert totals["upserted"] + totals["unchanged"] == BATCH + 8
    assert totals["generation"] == catalog.reader.state().generation == 3
    assert len(catalog.reader.view().types["film"]) == 7


def test_an_empty_catalog_is_loaded_at_once_and_every_phase_counts_to_its_end(tmp_path: Path, catalog: Catalog) -> None:
    many = [line(f"film/f{number % 7}", popularity=number) for number in range(BATCH + 3)]
    files = [str(write(tmp_path / "1.jsonl", *many)), str(write(tmp_path / "2.jsonl", *GOOD))]
    seen: dict[str, list[tuple[int, int]]] = {}
    phases = Phases(lambda what: lambda done, total: seen.setdefault(what, []).append((done, total)))
    totals = load_files(catalog, files, phases)
    assert all(counts[-1][0] == counts[-1][1] > 0 for counts in seen.values()), seen
    assert seen.keys() >= {"reading", "ordering", "writing", "segments"}
    assert phases.seconds.keys() >= {"read", "write", "segments"}
    assert totals["upserted"] + totals["unchanged"] == BATCH + 8
    assert totals["generation"] == catalog.reader.state().generation == 1
    assert len(catalog.reader.view().types["film"]) == 7


def test_bad_lines_become_dead_letters_that_name_file_and_line(tmp_path: Path, catalog: Catalog) -> None:
    path = write(tmp_path / "x.jsonl", GOOD[0], b"", BAD, GOOD[1], b"{")
    totals = load_files(catalog, [str(path)])
    assert (totals["upserted"], totals["dead_letters"]) == (2, 2)
    with catalog.store.read() as txn:
        letters = [letter for _, letter in txn.dead_letters()]
    assert [(x.topic, x.offset, x.value, x.key, x.reason) for x in letters] == [
        (f"file:{path}", 3, BAD, b"film/bad", "MISSING_FIELD"), (f"file:{path}", 5, b"{", None, "UNDECODABLE")
    ]  # fmt: skip


def test_a_missing_file_is_found_before_anything_is_loaded(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(StartupError):
        load_files(catalog, [str(write(tmp_path / "x.jsonl", *GOOD)), str(tmp_path / "nowhere.jsonl")])
    assert catalog.reader.state().generation == 0


def test_bad_lines_are_named_by_number_and_the_rest_counted() -> None:
    with pytest.raises(EventError) as caught:
        checked([GOOD[0], BAD, GOOD[1], *[b"{"] * 7])
    message = str(caught.value)
    assert message.startswith(
        "nothing was published: 8 of 10 lines are wrong: line 2: title is missing [MISSING_FIELD]; "
    )
    assert [f"line {number}:" in message for number in range(1, 11)] == [
        number in (2, 4, 5, 6, 7) for number in range(1, 11)
    ]
    assert message.endswith("; and 3 more")


def test_bad_lines_are_named_by_their_number_in_their_file(tmp_path: Path, catalog: Catalog) -> None:
    files = [write(tmp_path / "1.jsonl", *GOOD), write(tmp_path / "2.jsonl", GOOD[0], b"", b"", BAD)]
    with pytest.raises(EventError, match=r"2\.jsonl.*line 4\b|2\.jsonl:4\b"):
        publish_files(Settings(catalog=catalog.store.path), map(str, files))


def test_one_bad_line_and_nothing_is_published(tmp_path: Path, catalog: Catalog) -> None:
    settings = Settings(catalog=catalog.store.path)
    with pytest.raises(EventError):
        publish_files(settings, [str(write(tmp_path / "x.jsonl", *GOOD, BAD))])
    assert not (catalog.store.path / eventfile.NAME).exists()
    assert publish_lines(settings, GOOD) == {"events": 5, "to": str(catalog.store.path / eventfile.NAME)}
    assert (catalog.store.path / eventfile.NAME).read_bytes() == b"\n".join([*GOOD, b""])


def test_publishing_to_no_catalog_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="set --catalog or --kafka"):
        publish_lines(Settings(catalog=tmp_path / "nowhere"), GOOD)
    assert not (tmp_path / "nowhere").exists()


def follow(path: Path, offset: int = 0, max_records: int = 1_000) -> tuple[list[RawRecord], EventFileSource]:
    source = EventFileSource(path, offset, threading.Event())
    return source.poll(max_records, 0), source


def test_a_restart_from_any_committed_offset_reads_exactly_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    eventfile.append(path, [*GOOD[:3], b"", b"\xff", *GOOD[3:]])
    records, source = follow(path)
    assert [record.value for record in records] == [*GOOD[:3], b"\xff", *GOOD[3:]]
    assert source.positions() == source.end_offsets() == {(TOPIC, 0): path.stat().st_size}
    for number, record in enumerate(records):
        rest, _ = follow(path, record.position.offset + 1)
        assert [r.position for r in rest] == [r.position for r in records[number + 1 :]]
        assert [r.value for r in rest] == [r.value for r in records[number + 1 :]]


def test_polls_of_any_size_read_every_line_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    eventfile.append(path, GOOD * 3)
    for size in (1, 2, 7, 15, 99):
        source, found = EventFileSource(path, 0, threading.Event()), []
        while batch := source.poll(size, 0):
            assert len(batch) <= size
            found += [record.value for record in batch]
        assert found == GOOD * 3


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    half = len(GOOD[1]) // 2
    path.write_bytes(GOOD[0] + b"\n" + GOOD[1][:half])
    records, source = follow(path)
    assert [record.value for record in records] == [GOOD[0]]
    assert source.poll(9, 0) == []
    assert source.positions() == {(TOPIC, 0): len(GOOD[0]) + 1}
    with path.open("ab") as file:
        file.write(GOOD[1][half:] + b"\n")
    assert [record.value for record in source.poll(9, 0)] == [GOOD[1]]


def test_the_broken_line_of_a_publisher_that_died_is_refused_alone(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD[0] + b"\n" + GOOD[1][:20])
    eventfile.append(path, GOOD[2:])
    records, _ = follow(path)
    applied = catalog.apply([decode_line(record.value or b"", record.position, 1) for record in records])
    assert (applied.upserted, applied.dead_letters) == (4, 1)
    assert catalog.reader.item(ItemKey("film", "f1")) is None


def test_a_file_that_is_shorter_than_what_was_read_stops_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    end = eventfile.append(path, GOOD)
    assert follow(path, end)[0] == []
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StartupError, match="events were lost"):
        follow(path, end)
    path.unlink()
    with pytest.raises(StartupError, match="has 0 bytes"):
        follow(path, end)


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    source = EventFileSource(tmp_path / "later" / "events.jsonl", 0, threading.Event())
    assert source.poll(9, 0) == []
    assert source.end_offsets() == {(TOPIC, 0): 0}
    publisher = threading.Timer(0.02, eventfile.append, (tmp_path / "later" / "events.jsonl", GOOD))
    publisher.start()
    assert [record.value for record in source.poll(1, 30)] == GOOD[:1]
    publisher.join()


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert EventFileSource(tmp_path / "events.jsonl", 0, stop).poll(9, 3_600) == []


def test_publishers_at_once_neither_mix_nor_lose_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    batches = [[b"%d/%d/%d" % (name, batch, n) * 200 for n in range(20)] for name in range(3) for batch in range(8)]
    turns = [batches[name::3] for name in range(3)]

    def publish(mine: list[list[bytes]]) -> None:
        for batch in mine:
            eventfile.append(path, batch)

    threads = [threading.Thread(target=publish, args=(mine,)) for mine in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records, _ = follow(path)
    values = [record.value for record in records]
    found = [values[start : start + 20] for start in range(0, len(values), 20)]
    assert sorted(found) == sorted(batches), "every batch is there, in one piece"
    assert [[batch for batch in found if batch in mine] for mine in turns] == turns, "in its publisher's order"
