"""The catalog worker as a process between two topics of a real broker: what it takes, refuses and tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from neo_runtime.types import ItemKey
from tests.kit import brokers, changes, fold, processes, tiny
from tests.kit.brokers import Record, Topics
from tests.kit.changes import JSON, PROTOBUF, Bad, Change
from tests.kit.workers import CatalogWorker, kafka_worker

pytestmark = pytest.mark.kafka

IN_JSON, IN_PROTOBUF = ([("content-type", kind.encode())] for kind in (JSON, PROTOBUF))
GOOD = Change("film/elsewhere", title="Not what the key says")
VALUE = changes.json_value(GOOD)


@dataclass
class Followed:
    """One worker for all tests here; each sends items of its own."""

    worker: CatalogWorker
    bootstrap: str
    topics: Topics

    def say(self, *records: Record) -> list[int]:
        """Send, and wait until it is applied and published; the offsets that the records got."""
        positions = brokers.send(self.bootstrap, self.topics.items, records)
        self.worker.catch_up(self.bootstrap, self.topics)
        return [position.offset for position in positions]

    def titles(self, *items: str) -> list[str | None]:
        """None where an item is deleted, or was never there."""
        records = [self.worker.reader.item(ItemKey.parse(item)) for item in items]
        return [None if record is None or record.deleted else record.title for record in records]

    def counted(self, name: str) -> int:
        return self.worker.counters().get(name, 0)

    def told(self) -> dict[str, fold.Codes | None]:
        return fold.assigned(brokers.read_topic(self.bootstrap, self.topics.assignments))

    def held(self) -> dict[str, fold.Codes | None]:
        """What the catalog would have to say of every item that it knows."""
        spaces = {kind: book.space for kind, book in fold.BOOKS.items()}
        with self.worker.reader.store.read() as txn:
            return {
                f"{kind}/{item_id}": None if record.deleted else space.unpack_one(record.sid_key)
                for kind, space in spaces.items()
                for item_id, record in txn.items(kind)
            }


@pytest.fixture(scope="module")
def followed(bootstrap: str, model_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    topics = brokers.new_topics("catalog-worker")
    with kafka_worker(tmp_path_factory.mktemp("followed"), model_folder, bootstrap, topics) as worker:
        worker.start()
        yield Followed(worker, bootstrap, topics)
        assert worker.stop() == 0, worker.log()


def test_the_content_type_says_whether_an_event_is_json_or_protobuf(followed: Followed) -> None:
    said = [Change(f"film/encoded{number}", number, f"Encoded {number}", popularity=number) for number in range(4)]
    kept = {"description": "About", "attributes": {"year": {"intValue": "1951"}}}
    followed.say(
        changes.record(said[0], JSON),
        changes.record(said[1], PROTOBUF),
        Record(b"film/encoded2", changes.json_value(said[2], **kept), []),
        Record(b"film/encoded3", changes.json_value(said[3]), [("Content-Type", b"application/json; charset=utf-8")]),
    )
    for change in said:
        record = followed.worker.reader.item(change.key)
        assert record is not None
        assert (record.title, record.popularity, record.event_time_us) == (
            change.title, change.popularity, change.time_us
        )  # fmt: skip
        assert record.attributes == {"year": 1951}
        path = next(fold.ranked(list(fold.BOOKS["film"].centroids), tiny.vector(change.key)))
        assert fold.BOOKS["film"].space.unpack_one(record.path_key) == path


def test_an_item_is_deleted_by_an_event_and_by_a_null_value(followed: Followed) -> None:
    items = [f"book/gone{number}" for number in range(3)]
    followed.say(*(changes.record(Change(item, 5)) for item in items))
    assert followed.titles(*items) == ["A title"] * 3
    followed.say(
        changes.record(Change(items[0], 6, title=None)),
        changes.record(Change(items[1], 6, title=None), PROTOBUF),
        Record(items[2].encode(), None, [], changes.PARTITIONS["book"]),
    )
    assert followed.titles(*items) == [None] * 3
    followed.say(changes.record(Change(items[0], 7, "Back again")))
    assert followed.titles(*items) == ["Back again", None, None]
    told = followed.told()
    assert told[items[0]] is not None
    assert [told[item] for item in items[1:]] == [None, None]


def test_the_last_assignment_of_every_item_is_what_the_catalog_says(followed: Followed) -> None:
    said = [change for change in changes.random_changes(5, 400, tombstones=True) if change.key.type == "artist"]
    followed.say(*(changes.record(change, PROTOBUF) for change in said))
    told = followed.told()
    assert told == followed.held()
    expected = fold.Fold(said).assignments()
    assert expected
    assert {item: told[item] for item in expected} == expected


def test_events_that_come_late_or_name_nothing_change_nothing_and_are_counted(followed: Followed) -> None:
    followed.say(changes.record(Change("film/late", 100, "Newest")))
    before = {name: followed.counted(name) for name in ("stale", "unknown_deletes")}
    generation = followed.worker.reader.state().generation
    followed.say(
        changes.record(Change("film/late", 99, "Older", version=1)),
        changes.record(Change("film/late", 98, title=None), PROTOBUF),
        Record(b"film/never-seen", None, []),
        Record(b"planet/of-no-known-type", None, []),
    )
    assert followed.titles("film/late") == ["Newest"]
    assert {name: followed.counted(name) - count for name, count in before.items()} == {
        "stale": 2, "unknown_deletes": 2
    }  # fmt: skip
    assert followed.worker.reader.state().generation == generation
    assert followed.worker.reader.item(ItemKey("film", "never-seen")) is None
    assert "film/never-seen" not in followed.told()


def upserted(item: str, **other: object) -> Record:
    return Record(item.encode(), changes.json_value(Change(item), **other), IN_JSON)


def short(size: int) -> dict[str, str]:
    return changes.embedding(np.ones(size, np.float32))


BAD = {
    "JSON cut short": Bad(Record(b"film/bad", VALUE[:-9], IN_JSON), "UNDECODABLE"),
    "JSON of another message": Bad(Record(b"film/bad", b'{"itme": {}}', IN_JSON), "UNDECODABLE"),
    "bytes, not text": Bad(Record(b"film/bad", b"\xff\x00", [*IN_JSON, ("trace", b"\x00\xff")]), "UNDECODABLE"),
    "protobuf cut short": Bad(Record(b"film/bad", changes.protobuf_value(GOOD)[:-3], IN_PROTOBUF), "UNDECODABLE"),
    "JSON said to be protobuf": Bad(Record(b"film/bad", VALUE, IN_PROTOBUF), "UNDECODABLE"),
    "an unknown encoding": Bad(Record(b"film/bad", VALUE, [("content-type", b"text/csv")]), "UNKNOWN_CONTENT_TYPE"),
    "an empty value": Bad(Record(b"film/bad", b"", IN_JSON), "MISSING_FIELD"),
    "no change": Bad(Record(b"film/bad", b'{"item": {"itemType": "film", "itemId": "bad"}}', IN_JSON), "MISSING_FIELD"),
    "a key without a type": Bad(Record(b"bad", VALUE, IN_JSON), "UNDECODABLE"),
    "a key that is not UTF-8": Bad(Record(b"film/\xff", VALUE, IN_JSON), "UNDECODABLE"),
    "a key that contradicts": Bad(Record(b"film/bad", VALUE, IN_JSON), "KEY_MISMATCH"),
    "an unknown type": Bad(upserted("planet/mars"), "UNKNOWN_TYPE"),
    "no title": Bad(upserted("film/bad", title=None), "MISSING_FIELD"),
    "a blank title": Bad(upserted("film/bad", title=" \n"), "MISSING_FIELD"),
    "a title too long": Bad(upserted("film/bad", title="t" * 1_001), "VALUE_TOO_LARGE"),
    "an id too long": Bad(upserted("film/" + "i" * 300), "VALUE_TOO_LARGE"),
    "no embedding": Bad(upserted("film/bad", embedding=None), "EMBEDDING_MISSING"),
    "an embedding too short": Bad(upserted("film/bad", embedding=short(tiny.DIMENSION - 1)), "EMBEDDING_MISMATCH"),
    "an embedding too long": Bad(upserted("film/bad", embedding=short(tiny.DIMENSION + 1)), "EMBEDDING_MISMATCH"),
    "an embedding cut short": Bad(upserted("film/bad", embedding={"float32Le": "AAAA"}), "EMBEDDING_MISMATCH"),
    "an embedding of another model": Bad(
        upserted("film/bad", embedding=changes.embedding(tiny.vector(GOOD.key), "other")), "EMBEDDING_MISMATCH"
    ),
    "a number that is none": Bad(upserted("film/bad", popularity="NaN"), "INVALID_VALUE"),
}  # fmt: skip


def test_what_cannot_be_applied_becomes_a_dead_letter_and_holds_nothing_up(followed: Followed) -> None:
    before = followed.counted("dead_letters")
    around = [Change(f"film/beside{number}") for number in range(len(BAD) + 1)]
    records = [changes.record(around[0])]
    for bad, good in zip(BAD.values(), around[1:], strict=True):
        records += [bad.record._replace(partition=0), changes.record(good)]
    offsets = followed.say(*records)
    assert followed.titles(*(change.item for change in around)) == ["A title"] * len(around)
    assert followed.counted("dead_letters") - before == len(BAD)

    listed = listed_dead_letters(followed, limit=len(BAD))
    for (name, bad), offset, row in zip(BAD.items(), offsets[1::2], listed, strict=True):
        assert row["origin"] == f"{followed.topics.items}[0]@{offset}", name
        assert row["reason"] == bad.reason, (name, row)
        assert row["message"], name

    published = on_topic(followed, lambda headers: int(headers["__connect.errors.offset"]) in offsets)
    for (name, bad), offset, letter, row in zip(BAD.items(), offsets[1::2], published, listed, strict=True):
        assert (letter.key, letter.value) == (bad.record.key, bad.record.value), name
        assert [tuple(header) for header in letter.headers][: len(bad.record.headers)] == bad.record.headers, name
        headers = dict(letter.headers)
        assert headers["neo.errors.reason"] == bad.reason.encode(), name
        assert headers["__connect.errors.topic"] == followed.topics.items.encode(), name
        assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (b"0", b"%d" % offset)
        assert headers["__connect.errors.exception.message"].decode() == row["message"], name


def test_a_dead_letter_too_large_for_the_broker_goes_without_its_value(followed: Followed) -> None:
    large = Record(b"film/large", b"{" + b" " * 1_048_300, IN_JSON, 0)  # the headers of a dead letter are too much
    small = [Record(b"film/small", value, IN_JSON, 0) for value in (b"{before", b"{after")]
    offsets = followed.say(small[0], large, small[1], changes.record(Change("film/after-large")))
    assert followed.titles("film/after-large") == ["A title"]
    assert followed.told()["film/after-large"] is not None
    before, cut, after = on_topic(followed, lambda headers: int(headers["__connect.errors.offset"]) in offsets)
    assert (before.value, after.value) == (small[0].value, small[1].value)
    assert cut.key == b"film/large"
    assert not cut.value
    assert dict(cut.headers)["neo.errors.value.omitted"].startswith(b"1048301 bytes")
    assert dict(cut.headers)["neo.errors.reason"] == b"UNDECODABLE"
    listed = listed_dead_letters(followed, limit=3)
    assert [row["origin"] for row in listed] == [f"{followed.topics.items}[0]@{offset}" for offset in offsets[:3]]


def listed_dead_letters(followed: Followed, limit: int) -> list[dict[str, str]]:
    command = ("catalog", "dead-letters", "--catalog", str(followed.worker.catalog), "--json", "--limit", str(limit))
    done = processes.neo(*command)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, str]] = json.loads(done.stdout)["dead_letters"]
    return rows


def on_topic(followed: Followed, wanted: Callable[[dict[str, bytes]], bool]) -> list[Any]:
    letters = brokers.read_topic(followed.bootstrap, followed.topics.dead_letters)
    return [letter for letter in letters if wanted(dict(letter.headers))]
