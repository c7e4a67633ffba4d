"""kill -9 of the catalog worker at random instants under load: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.catalog.records import DeadLetter
from neo_runtime.ingest import eventfile
from tests.kit import brokers, changes, fold
from tests.kit.brokers import Record, Topics
from tests.kit.changes import JSON, PROTOBUF, Bad, Change, Said
from tests.kit.workers import CatalogWorker, catalog_worker, kafka_worker, until

EVENTS, KILLS = 4_000, 8
SMALL_BATCHES = "10"  # many commits, so that kills fall between all of their steps
NUMBER = "test-number"


def with_bad(said: list[Change], bad: Callable[[int], Bad], seed: int) -> list[Said]:
    """The same with one bad record after every fifty."""
    rng = random.Random(seed)
    mixed: list[Said] = list(said)
    for number in range(len(said) // 50):
        mixed.insert(rng.randrange(len(mixed)), bad(number))
    return mixed


def kill_at_some_instant(worker: CatalogWorker, rng: random.Random, share: float) -> bool:
    """While it starts, or once it has applied about `share` of what waits; whether it still had something to do."""
    if rng.random() < 0.25:
        worker.start(wait=False)
        time.sleep(rng.uniform(0.3, 1.5))
    else:
        applied = sum(worker.counters().values()) if worker.process else 0
        worker.start(wait=False)
        worker.wait(lambda: sum(worker.counters().values()) >= applied + share, "progress")
        time.sleep(rng.uniform(0, 0.03))
    worker.kill()
    return worker.outbox() > 0


def kept_dead_letters(worker: CatalogWorker) -> list[DeadLetter]:
    with worker.reader.store.read() as txn:
        assert txn.state().dead_letters == txn.entries("dead_letters")
        return [letter for _, letter in txn.dead_letters()]


def bad_record(number: int) -> Bad:
    key = f"film/bad{number}".encode()
    value, reason = [
        (b"{cut", "UNDECODABLE"),
        (changes.json_value(Change("film/another")), "KEY_MISMATCH"),
        (changes.json_value(Change(f"film/bad{number}"), title=""), "MISSING_FIELD"),
    ][number % 3]
    return Bad(Record(key, value, [], number % 2 + 1), reason)


def numbered(number: int, said: Said) -> Record:
    record = said.record if isinstance(said, Bad) else changes.record(said, (JSON, PROTOBUF)[number % 2])
    return record._replace(headers=[*record.headers, (NUMBER, str(number).encode())])


def number_of(record: Any) -> int:
    return int(dict(record.headers)[NUMBER])


@pytest.mark.kafka
def test_killed_between_kafka_and_kafka(bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path) -> None:
    rng = random.Random(41)
    said = with_bad(changes.random_changes(11, EVENTS, tombstones=True), bad_record, 12)
    records = [numbered(number, x) for number, x in enumerate(said)]
    part = len(said) // KILLS + 1
    with kafka_worker(tmp_path, model_folder, bootstrap, topics, max_batch=SMALL_BATCHES) as worker:
        worker.start()  # makes topics and catalog
        worker.kill()
        busy = 0
        for turn in range(KILLS):
            brokers.send(bootstrap, topics.items, records[turn * part : (turn + 1) * part])
            busy += kill_at_some_instant(worker, rng, rng.uniform(0.05, 0.6) * part)
        assert busy, "no kill fell into the work"
        worker.start()
        worker.catch_up(bootstrap, topics)
        assert worker.stop() == 0, worker.log()
        assert "Traceback" not in worker.log()

        log = brokers.read_topic(bootstrap, topics.items)
        assert sorted(map(number_of, log)) == list(range(len(said)))
        expected = fold.Fold(said[number_of(record)] for record in log)
        fold.assert_equals_fold(worker.reader, expected)
        assignments = brokers.read_topic(bootstrap, topics.assignments)
        assert fold.assigned(assignments) == expected.assignments()
        told = Counter(map(fold.assignment, assignments))
        assert told.keys() == expected.told.keys()
        assert told >= expected.told

        assert_every_dead_letter(worker, bootstrap, topics, log, said)


def assert_every_dead_letter(
    worker: CatalogWorker, bootstrap: str, topics: Topics, log: list[Any], said: list[Said]
) -> None:
    """Once in the catalog; on the topic at least once, and again only as the same."""
    bad = {number: x for number, x in enumerate(said) if isinstance(x, Bad)}
    refused = {(x.partition, x.offset): x for x in log if number_of(x) in bad}
    kept = kept_dead_letters(worker)
    assert sorted((letter.partition, letter.offset) for letter in kept) == sorted(refused)
    for letter in kept:
        record = refused[letter.partition, letter.offset]
        assert (letter.topic, letter.key, letter.value) == (topics.items, record.key, record.value)
        assert letter.reason == bad[number_of(record)].reason

    published = by_origin(brokers.read_topic(bootstrap, topics.dead_letters))
    assert published.keys() == refused.keys()
    for origin, letters in published.items():
        record = refused[origin]
        for letter in letters:
            assert (letter.key, letter.value, number_of(letter)) == (record.key, record.value, number_of(record))
            assert dict(letter.headers)["neo.errors.reason"].decode() == bad[number_of(record)].reason


def by_origin(letters: list[Any]) -> dict[tuple[int, int], list[Any]]:
    found = defaultdict(list)
    for letter in letters:
        headers = dict(letter.headers)
        found[int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])].append(letter)
    return dict(found)


def bad_line(number: int) -> Bad:
    line, reason = [
        (b'{"type": "film", "id":', "UNDECODABLE"),
        (b'{"type": "planet", "id": "mars", "title": "Mars"}', "UNKNOWN_TYPE"),
        (b'{"type": "film", "id": "without-title"}', "MISSING_FIELD"),
        (b'{"type": "film", "id": "no-embedding", "title": "None"}', "EMBEDDING_MISSING"),
    ][number % 4]
    return Bad(Record(None, line, []), reason)


def publish(path: Path, said: list[Said]) -> None:
    """In a few pieces; a publisher that died in the middle of its line comes between them."""
    for start in range(0, len(said), 200):
        piece = said[start : start + 200]
        if torn := isinstance(piece[0], Bad):
            with path.open("ab") as file:
                file.write(piece[0].record.value or b"")
        eventfile.append(path, [encoded(x) for x in piece[torn:]])


def encoded(said: Said) -> bytes:
    return (said.record.value or b"") if isinstance(said, Bad) else changes.line(said)


def test_killed_while_following_the_event_file(model_folder: Path, tmp_path: Path) -> None:
    rng = random.Random(43)
    said = with_bad(changes.random_changes(13, EVENTS, tombstones=False), bad_line, 14)
    said[200:200] = said[1_600:1_600] = [bad_line(0)]  # torn: see publish
    part = 600  # a multiple of what is published in one piece
    with catalog_worker(tmp_path, model_folder, max_batch=SMALL_BATCHES) as worker:
        path = worker.catalog / eventfile.NAME
        worker.start()
        worker.kill()
        for turn in range(len(said) // part + 1):
            publish(path, said[turn * part : (turn + 1) * part])
            kill_at_some_instant(worker, rng, rng.uniform(0.05, 0.6) * min(part, len(said) - turn * part))
        worker.start()
        worker.read_up_to({(eventfile.TOPIC, 0): path.stat().st_size})
        assert worker.stop() == 0, worker.log()
        assert "Traceback" not in worker.log()

        lines = path.read_bytes().splitlines(keepends=True)
        assert [line.rstrip(b"\n") for line in lines] == [encoded(x) for x in said]
        fold.assert_equals_fold(worker.reader, fold.Fold(said))
        ends = [sum(map(len, lines[: number + 1])) for number in range(len(lines))]
        refused = [(end - 1, x) for end, x in zip(ends, said, strict=True) if isinstance(x, Bad)]
        assert [(letter.offset, letter.value, letter.reason) for letter in kept_dead_letters(worker)] == [
            (offset, bad.record.value, bad.reason) for offset, bad in refused
        ]
        assert worker.outbox() == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.002])
def test_killed_while_it_makes_its_catalog(delay_s: float, model_folder: Path, tmp_path: Path) -> None:
    with catalog_worker(tmp_path, model_folder) as worker:
        worker.start(wait=False)
        until((worker.catalog / "data.mdb").exists, "a catalog being made", worker.log)
        time.sleep(delay_s)
        worker.kill()
        worker.start()
        publish(worker.catalog / eventfile.NAME, [Change("film/f1")])
        worker.wait(lambda: worker.counters() == {"upserted": 1}, "the first item")
        assert worker.stop() == 0, worker.log()
