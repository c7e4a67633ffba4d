"""What we write today is what earlier versions wrote, byte for byte, and what they wrote is read as it was meant.

`goldens/` holds the bytes, `goldens_write.py` and `golden_messages.py` the values. Topics, catalog folders and clients
outlive a version: a golden changes only together with a new schema or API version, or where a field is added. Then
`python -m tests.contracts.goldens_write` writes them anew, and the diff of `goldens/` belongs into the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.item import RawRecord, Stored, Upsert
from neo_runtime.catalog.records import Assignment, DeadLetter
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import TABLES
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.event import decode
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import rows_of
from neo_runtime.types import ItemKey, Position
from neo_runtime.v1 import (
    catalog_admin_service_pb2,
    catalog_events_pb2,
    catalog_pb2,
    constraint_pb2,
    generation_service_pb2,
)
from tests.contracts import golden_messages
from tests.contracts import goldens_write as golden
from tests.kit import dump

PROTOS = (catalog_admin_service_pb2, catalog_events_pb2, catalog_pb2, constraint_pb2, generation_service_pb2)
EVENT_ROWS = {name: record for name, *record in golden.read_rows("events")}
OUTGOING_ROWS = {name: record for name, *record in golden.read_rows("outgoing")}
MESSAGE_ROWS = dict(golden.read_rows("messages"))


@pytest.mark.parametrize("name", golden.ROWS)
def test_what_is_written_equals_the_golden_bytes(name: str) -> None:
    assert golden.ROWS[name]() == golden.read_rows(name)


@pytest.mark.parametrize("path", ["segments/film-7.seg", "codebooks/film.json", "codebooks/film.safetensors"])
def test_files_that_are_written_equal_the_golden_files(path: str) -> None:
    assert golden.files()[path] == (golden.FOLDER / path).read_bytes()
    assert len(golden.files()) == 3


@pytest.mark.parametrize("name", golden.EVENTS)
def test_golden_events_are_read_as_what_they_say(name: str) -> None:
    (said, _), (key, value, headers) = golden.EVENTS[name], EVENT_ROWS[name]
    source = RawRecord(Position("neo.catalog.items", 0, 0), key, value, tuple(headers), golden.TIME_US)
    found, said = decode(source), replace(said, source=source)
    if isinstance(found, Upsert) and isinstance(said, Upsert):
        np.testing.assert_array_equal(found.embedding, said.embedding)  # type: ignore[arg-type]
        found, said = replace(found, embedding=None), replace(said, embedding=None)
    assert found == said


@pytest.mark.parametrize("name", golden_messages.MESSAGES)
def test_golden_messages_are_read_as_what_they_say(name: str) -> None:
    message = golden_messages.MESSAGES[name]
    assert type(message).FromString(MESSAGE_ROWS[name]) == message


def test_golden_messages_set_every_public_field() -> None:
    public = {field for proto in PROTOS for kind in proto.DESCRIPTOR.message_types_by_name.values()
              for field in _fields(kind)}  # fmt: skip
    seen = {field for message in golden_messages.MESSAGES.values() for field in _set_fields(message)}
    assert public - seen == set()


def _fields(kind: Descriptor) -> Iterator[str]:
    if not kind.GetOptions().map_entry:
        yield from (field.full_name for field in kind.fields)
    for nested in kind.nested_types:
        yield from _fields(nested)


def _set_fields(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.full_name
        for child in _children(value):
            yield from _set_fields(child)


def _children(value: object) -> Iterable[Message]:
    if isinstance(value, Message):
        return [value]
    if hasattr(value, "values"):
        value = value.values()  # a map
    return [child for child in value if isinstance(child, Message)] if isinstance(value, Iterable) else []


def test_published_assignments_name_item_codes_and_codebook() -> None:
    topic, key, value, headers = OUTGOING_ROWS["assigned"]
    said = catalog_events_pb2.SidAssigned.FromString(value)
    assigner = ("neo.assigner", b"0a1b2c3d:8")
    assert (topic, key, headers) == (
        "neo.catalog.assignments", "film/ö".encode(), [("content-type", b"application/protobuf"), assigner]
    )  # fmt: skip
    assert (said.item.item_type, said.item.item_id, list(said.sid.codes)) == ("film", "ö", [3, 0])
    assert (said.sid.item_type, said.sid.codebook) == ("film", golden.FINGERPRINT)
    assert (said.event_time.ToMicroseconds(), said.quantization_error, said.generation) == (golden.TIME_US, 0.125, 8)
    assert OUTGOING_ROWS["forgotten"] == ["neo.catalog.assignments", b"film/e", None, [assigner]]


@pytest.mark.parametrize("name", ["assigned", "gone", "forgotten"])
def test_published_states_are_read_as_what_the_catalog_held(name: str) -> None:
    _, key, value, headers = OUTGOING_ROWS[name]
    source = RawRecord(Position("neo.catalog.assignments", 0, 0), key, value, tuple(headers), golden.TIME_US)
    said, _ = golden.OUTGOING[name]
    read = Changelog({"film": golden.CODEBOOK}, "ffffffff").decode(source)
    assert isinstance(said, Assignment)
    assert read == Stored(said.key, said.record, "0a1b2c3d", 8, source)


def test_published_dead_letters_carry_the_record_untouched_and_say_why() -> None:
    letter = golden.LETTER
    topic, key, value, headers = OUTGOING_ROWS["dead letter"]
    assert (topic, key, value) == (f"{letter.topic}.dlq", letter.key, letter.value)
    assert headers[:2] == [("content-type", b"application/json"), ("trace", b"")]
    assert dict(headers[2:]) == {
        "__connect.errors.topic": b"neo.catalog.items",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"41",
        "__connect.errors.exception.message": "not an ItemEvent: ö".encode(),
        "neo.errors.reason": b"UNDECODABLE",
        "neo.errors.time": b"2025-06-01T00:00:00.123456Z",
    }


def test_a_letter_that_was_stored_without_its_records_time_is_still_read() -> None:
    fields = ["DeadLetter", *msgspec.structs.astuple(golden.LETTER)[:-1]]
    stored = msgspec.msgpack.encode(fields)
    assert msgspec.msgpack.decode(stored, type=DeadLetter) == msgspec.structs.replace(golden.LETTER, timestamp_us=0)


def golden_catalog(folder: Path) -> Path:
    """A catalog folder as an earlier version left it."""
    for path in golden.files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((golden.FOLDER / path).read_bytes())
    rows: dict[str, dump.Rows] = {table: [] for table in TABLES}
    for table, key, value in golden.read_rows("tables"):
        rows[table].append((key, value))
    store = Store(folder, writable=True)
    dump.fill(store, rows)
    store.close()
    return folder


def test_golden_tables_are_read_as_what_they_say(tmp_path: Path) -> None:
    store = Store(golden_catalog(tmp_path), writable=False)
    with store.read() as txn:
        assert (txn.description(), txn.state(), txn.base()) == (golden.DESCRIPTION, golden.STATE, golden.BASE)
        assert txn.lag() == golden.LAG
        assert {ItemKey("film", item): record for item, record in txn.items("film")} == golden.ITEMS
        assert {key: txn.item(key) for key in golden.ITEMS} == golden.ITEMS
        assert {sid: txn.bearers("film", sid) for sid in golden.BEARERS} == dict(txn.sids("film")) == golden.BEARERS
        assert dict(txn.log_after(7)) == golden.LOG
        assert {key: txn.availability(key) for key in golden.SAID} == golden.SAID
        assert list(txn.waiting()) == [(golden.TIME_US + 1, ItemKey("film", "to come"))]
        assert (txn.offsets(), txn.offset("neo.catalog.items", 3)) == (golden.OFFSETS, 42)
        assert txn.outbox(10) == [(0, golden.ASSIGNED), (1, golden.LETTER)]
        assert list(txn.dead_letters()) == [(0, golden.LETTER)]
        assert [table for table in TABLES if not txn.entries(table)] == [], "every table has a golden"
    store.close()


def test_types_of_stored_attributes_survive(tmp_path: Path) -> None:
    store = Store(golden_catalog(tmp_path), writable=False)
    with store.read() as txn:
        record = txn.item(ItemKey("film", "a"))
    assert record is not None
    assert {name: type(value) for name, value in record.attributes.items()} == {
        "brand": str, "year": int, "score": float, "seen": bool, "genres": list
    }  # fmt: skip
    store.close()


def test_a_golden_catalog_opens_and_its_items_are_where_they_were(tmp_path: Path) -> None:
    reader, codebooks = open_reader(golden_catalog(tmp_path))
    view = reader.view()
    assert view.generation == 8
    found = {sid: view.types["film"].items_on(sid) for sid in range(8)}
    assert {sid: ids for sid, ids in found.items() if ids} == {0: ("a",), 3: ("c",), 5: ("d",), 6: ("ö",)}
    assert codebooks["film"].space.unpack_one(5) == (2, 1)
    assert reader.snapshot == "catalogs/default/live-0a1b2c3d"
    reader.store.close()


def test_the_golden_segment_holds_every_leaf() -> None:
    loaded = Segment.load(golden.FOLDER / "segments" / "film-7.seg")
    assert loaded.space.level_sizes == (4, 2)
    assert loaded.keys.tolist() == list(golden.SEGMENT_KEYS)
    ids = [[loaded.row_id(row) for row in rows_of(loaded, leaf)] for leaf in range(len(loaded))]
    assert tuple(map(tuple, ids)) == golden.SEGMENT_ITEMS
    assert [loaded.row(row).attributes for row in range(4)] == [{"year": 1951}] * 4
    assert [codes.tolist() for codes in loaded.levels.codes] == [[0, 1, 3], [0, 1, 0]]
    assert [children.tolist() for children in loaded.levels.first_child] == [[0, 3], [0, 1, 2, 3]]
    content = (golden.FOLDER / "segments" / "film-7.seg").read_bytes()
    assert (content[:8], hashlib.sha256(content).hexdigest()) == (b"NEOSEG02", golden.SEGMENT_SHA256)


def test_the_golden_codebook_keeps_its_fingerprint_and_its_codes() -> None:
    book = load_codebooks(golden.FOLDER / "codebooks")["film"]
    assert (book.item_type, book.embedder, book.fingerprint) == ("film", "test-vectors", golden.FINGERPRINT)
    assert [level.tolist() for level in book.centroids] == [list(map(list, level)) for level in golden.LEVELS]
    codes, errors = book.encode(np.array([[1, 0, -0.5], [-1, -1, -1]], np.float32))
    assert (codes.tolist(), errors.tolist()) == ([[0, 1], [3, 0]], [0.0, 0.0625])
