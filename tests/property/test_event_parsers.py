"""No bytes stop the stream: every record becomes an event or a dead letter, and the next good event is applied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, Event, RawRecord, Rejected, Upsert
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.event import JSON, LAST_SECOND, PROTOBUF, decode, encode
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.ingest.outgoing import OutgoingEncoder
from neo_runtime.types import ItemKey, Position
from neo_runtime.v1.catalog_events_pb2 import Embedding, ItemDeleted, ItemEvent, ItemUpserted
from neo_runtime.v1.catalog_pb2 import AttributeValue, ItemRef
from tests.kit import tiny
from tests.kit.mutations import JSON_VALUES, TEXTS, damaged, rearranged

REASONS = {
    "MISSING_FIELD", "UNDECODABLE", "UNKNOWN_CONTENT_TYPE", "INVALID_VALUE", "VALUE_TOO_LARGE", "KEY_MISMATCH",
    "EMBEDDING_MISMATCH", "EMBEDDING_MISSING", "UNKNOWN_TYPE", "CODEBOOK_FULL",
}  # fmt: skip
LAST_US = LAST_SECOND * 1_000_000
MOST_US = (2**63 - 1) * 1_000  # of a Kafka timestamp
SAID = replace(
    tiny.upsert("film/f1", time=7, title="Títle"), description="Two\nlines",
    attributes={"brand": "B", "year": 1951, "score": 8.25, "seen": True, "genres": ["a", "b"]},
)  # fmt: skip
GONE = tiny.delete("film/f1", time=8)
VALUES = {
    (kind, event is SAID): encode(event, kind).value or b"" for kind in (JSON, PROTOBUF) for event in (SAID, GONE)
}
LINE = (
    b'{"type": "film", "id": "f1", "title": "T", "description": "D", "attributes": {"year": 1951, "genres": ["a"], '
    b'"x": 1.5, "y": true}, "popularity": 0.5, "event_time": "2025-06-01T00:00:00Z", "embedding": [1, 2, 3, 4, 5, 6, '
    b'7, 8], "embedding_model": "test-vectors", "deleted": false}'
)

UPSERTED_WITHOUT_TIME = b'"upserted": ' + json.dumps(json.loads(VALUES[JSON, True])["upserted"]).encode()
ENCODER = OutgoingEncoder("assignments", Changelog(tiny.codebooks(), "0a1b2c3d"))

keys = st.sampled_from([b"film/f1", b"film/f1", b"book/b1", b"film/", b"/", b"", None]) | st.binary(max_size=600)
types = st.sampled_from([JSON, PROTOBUF, "Application/JSON; charset=utf-8", "text/plain", "", "\xff"])
content_types = types.map(lambda text: text.encode("latin-1")) | st.none() | st.binary(max_size=9)
headers = st.lists(st.tuples(st.sampled_from(["content-type", "Content-Type", "x"]) | TEXTS, content_types), max_size=3)
numbers = st.binary(min_size=32, max_size=32) | st.just(tiny.vector(SAID.key).tobytes()) | st.binary(max_size=9)
attribute_values = st.builds(AttributeValue, string_value=TEXTS) | st.sampled_from(
    [
        AttributeValue(), AttributeValue(double_value=float("nan")), AttributeValue(int_value=-(2**63)),
        AttributeValue(string_list=AttributeValue.StringList(values=["x"] * 300)),
        AttributeValue(time_value=Timestamp(seconds=2**62)), AttributeValue(time_value=Timestamp(nanos=-1)),
    ]
)  # fmt: skip
upserted = st.builds(
    ItemUpserted, title=TEXTS, description=TEXTS, popularity=st.floats(),
    attributes=st.dictionaries(TEXTS, attribute_values, max_size=2),
    embedding=st.none() | st.builds(Embedding, float32_le=numbers, model=st.sampled_from(["", "test-vectors", "x"])),
)  # fmt: skip
moments = st.none() | st.integers(-(2**63), 2**63 - 1).map(lambda s: Timestamp(seconds=s)) | st.builds(Timestamp)
items = st.just(ItemRef(item_type="film", item_id="f1")) | st.builds(ItemRef, item_type=TEXTS, item_id=TEXTS)


def _as_json(event: ItemEvent) -> bytes:
    """A time that JSON cannot write becomes one that was left out."""
    try:
        return json_format.MessageToJson(event).encode()
    except (ValueError, json_format.SerializeToJsonError):
        return json_format.MessageToJson(ItemEvent(item=event.item)).encode()


messages = st.builds(ItemEvent, item=items, event_time=moments, upserted=upserted) | st.builds(
    ItemEvent, item=items, event_time=moments, deleted=st.none() | st.builds(ItemDeleted, reason=TEXTS)
)
damaged_json = st.sampled_from([VALUES[JSON, True], VALUES[JSON, False]]).flatmap(lambda v: damaged(v) | rearranged(v))
damaged_protobuf = st.sampled_from([VALUES[PROTOBUF, True], VALUES[PROTOBUF, False]]).flatmap(damaged)
noise = st.none() | st.binary(max_size=80) | JSON_VALUES.map(json.dumps).map(str.encode)
as_json, as_protobuf = messages.map(_as_json), messages.map(ItemEvent.SerializeToString)
values = {
    JSON: noise | damaged_json | as_json | as_json | as_json,
    PROTOBUF: noise | damaged_protobuf | as_protobuf | as_protobuf | as_protobuf,
}


@st.composite
def records(draw: st.DrawFn) -> RawRecord:
    kind = draw(st.sampled_from([JSON, PROTOBUF]))
    told = draw(st.lists(st.just(("content-type", kind.encode())), min_size=kind == PROTOBUF, max_size=1) | headers)
    key = draw(st.just(b"film/f1") | keys)
    return RawRecord(Position("items", 0, 0), key, draw(values[kind]), tuple(told), draw(st.integers(0, LAST_US)))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Without an embedder: an upsert that lost its embedding is refused."""
    made = tiny.catalog(tmp_path_factory.mktemp("fuzzed") / "c", 3)
    yield made
    made.close()


def assert_stable(event: Event, source: RawRecord) -> None:
    assert isinstance(event, Upsert | Delete | Rejected)
    assert event.source == source
    if isinstance(event, Rejected):
        assert event.reason in REASONS
        assert event.message.encode()
        assert len(event.message) <= 500


def assert_publishable(catalog: Catalog) -> None:
    waiting = catalog.outbox()
    for _, outgoing in waiting:
        ENCODER.encode(outgoing)
    catalog.acknowledge([number for number, _ in waiting])


_numbers = count(1)


def assert_applied_and_the_next_one_too(catalog: Catalog, event: Event, *, publish: bool = True) -> None:
    """A refused event leaves its bytes, and nothing else; what follows it in the same batch is as good as ever."""
    time = next(_numbers)
    before = {key: catalog.reader.item(key) for key in (ItemKey("film", "f1"), ItemKey("book", "b1"))}
    number = catalog.reader.state().dead_letters
    applied = catalog.apply(
        [event, tiny.upsert("artist/good", time=time, popularity=time, offset=time)], publish=publish
    )
    record = catalog.reader.item(ItemKey("artist", "good"))
    assert record is not None
    assert (record.event_time_us, record.popularity, record.source_offset) == (time, time, time)
    assert_publishable(catalog)
    assert applied.dead_letters == catalog.reader.state().dead_letters - number
    assert applied.dead_letters == 1 or not isinstance(event, Rejected)
    if applied.dead_letters:
        with catalog.store.read() as txn:
            letter = dict(txn.dead_letters())[number]
        source = event.source
        assert (letter.key, letter.value, letter.headers) == (source.key, source.value, list(source.headers))
        assert letter.position == source.position
        assert letter.reason in REASONS
        assert {key: catalog.reader.item(key) for key in before} == before


@given(records())
@settings(max_examples=150, deadline=None)
@example(RawRecord(Position("items", 0, 0), b"film/f1", b"[" * 100_000))
@example(RawRecord(Position("items", 0, 0), b"film/f1", b'{"item":{"itemType":"\\ud800"}}'))
@example(RawRecord(Position("items", 0, 0), b"film/f1", b'{"upserted":{"popularity":' + b"9" * 5_000 + b"}}"))
@example(RawRecord(Position("items", 0, 0), b"film/f1", b"\x1a" * 64, (("content-type", PROTOBUF.encode()),)))
def test_any_record_becomes_an_event_or_a_dead_letter(catalog: Catalog, record: RawRecord) -> None:
    event = decode(record)
    assert_stable(event, record)
    assert_applied_and_the_next_one_too(catalog, event)


plain = st.fixed_dictionaries(
    {"type": st.sampled_from(["film", "film", "song"]), "id": st.sampled_from(["f1", "f1", "x/y", "\t"])},
    optional={
        "title": st.just("T") | TEXTS,
        "attributes": st.dictionaries(TEXTS, st.integers() | st.floats(allow_nan=False) | TEXTS | st.lists(TEXTS)),
        "popularity": st.floats(allow_nan=False),
        "event_time": st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
        "embedding": st.just([1, 2, 3, 4, 5, 6, 7, 8]) | st.lists(st.floats(), max_size=9) | TEXTS,
        "embedding_model": st.sampled_from(["", "test-vectors", "x"]),
        "deleted": st.booleans(),
    },
)
lines = (
    plain.map(json.dumps).map(str.encode)
    | st.just(LINE).flatmap(lambda line: damaged(line) | rearranged(line))
    | (st.binary(max_size=80) | JSON_VALUES.map(json.dumps).map(str.encode))
)


@given(lines, st.integers(0, LAST_US))
@settings(max_examples=150, deadline=None)
@example(b'{"type": "a", "id": "b", "attributes": {"a": ' + b"[" * 100_000, 1)
@example(b'{"type": "film", "id": "\\ud800", "title": "t"}', 1)
@example(b'{"type": "film", "id": "f1", "title": "t", "attributes": {"n": 123456789012345678901234567890}}', 1)
@example(b'{"type": "film", "id": "f1", "title": "t", "embedding": [1e39, 1, 1, 1, 1, 1, 1, 1]}', 1)
@example(b'{"type": "film", "id": "f1", "title": "t", "event_time": "0001-01-01T00:00:00+23:59"}', 1)
def test_any_line_becomes_an_event_or_a_dead_letter(catalog: Catalog, line: bytes, now_us: int) -> None:
    position = Position("events.jsonl", 0, 5)
    event = decode_line(line, position, now_us)
    assert event.source.position == position
    assert_stable(event, RawRecord(position, event.source.key, line, (), now_us))
    assert_applied_and_the_next_one_too(catalog, event, publish=False)


@pytest.mark.parametrize(
    ("change", "time_us"),
    [
        (None, MOST_US),
        (b'"deleted": {}', MOST_US),
        (UPSERTED_WITHOUT_TIME, MOST_US),
        (UPSERTED_WITHOUT_TIME, LAST_US + 1_000_000),
    ],
)
def test_a_record_with_an_absurd_timestamp_does_not_stop_the_stream(
    tmp_path: Path, change: bytes | None, time_us: int
) -> None:
    """Producers choose it, in any unit. Over 64 bits it fails every commit, after year 9999 every publication."""
    value = change and b'{"item": {"itemType": "film", "itemId": "new"}, ' + change + b"}"
    made = tiny.catalog(tmp_path / "c", 3)
    key = b"film/new" if value else b"film/f1"
    made.apply([decode(RawRecord(Position("items", 0, 0), key, value, (), time_us))], publish=True)
    assert_publishable(made)
    made.close()


@pytest.mark.filterwarnings("ignore:.*encountered in matmul")
def test_embeddings_whose_squares_overflow_are_applied(catalog: Catalog) -> None:
    huge = np.array([3e38, -3e38, 3e38, 3e38, -3e38, 3e38, 1, 0], np.float32)
    assert_applied_and_the_next_one_too(catalog, replace(tiny.upsert("film/huge"), embedding=huge))


names = st.text(min_size=1, max_size=20).filter(str.isprintable)
item_keys = st.builds(ItemKey, names.filter(lambda name: "/" not in name), names)
times = st.integers(0, LAST_US)
attributes = st.dictionaries(
    st.text(min_size=1, max_size=9),
    st.text(max_size=9)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.lists(st.text(max_size=9), max_size=3),
    max_size=4,
)
vectors = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9).map(lambda v: np.array(v, np.float32))
embeddings = st.just((None, "")) | st.tuples(vectors, st.text(max_size=9))
finite = st.floats(allow_nan=False, allow_infinity=False)
upserts = st.builds(
    lambda key, time, title, text, attributes, popularity, embedding: Upsert(
        key, time, title, text, attributes, popularity, *embedding, tiny.raw()
    ),
    item_keys, times, st.text(max_size=20), st.text(max_size=20), attributes, finite, embeddings,
)  # fmt: skip
deletes = st.builds(lambda key, time: Delete(key, time, False, tiny.raw()), item_keys, times)


@given(upserts | deletes, st.sampled_from([JSON, PROTOBUF]))
@settings(max_examples=100, deadline=None)
def test_what_is_encoded_is_decoded_as_the_same_event(said: Upsert | Delete, content_type: str) -> None:
    key, value, extra = encode(said, content_type)
    source = RawRecord(Position("items", 0, 0), key, value, tuple(extra), 1)
    found = decode(source)
    if isinstance(said, Upsert):
        assert isinstance(found, Upsert)
        assert (found.embedding is None) == (said.embedding is None)
        if found.embedding is not None and said.embedding is not None:
            assert found.embedding.tobytes() == said.embedding.tobytes()
        assert {name: type(value) for name, value in found.attributes.items()} == {
            name: type(value) for name, value in said.attributes.items()
        }
        found, said = replace(found, embedding=None), replace(said, embedding=None)
    assert found == replace(said, source=source)


@given(lines)
@settings(max_examples=150, deadline=None)
def test_a_line_that_passes_the_check_reaches_the_catalog_through_kafka_too(line: bytes) -> None:
    event = check(decode_line(line, Position("line", 0, 1), 1))
    if not isinstance(event, Rejected):
        key, value, extra = encode(event, PROTOBUF)
        found = decode(RawRecord(Position("items", 0, 0), key, value, tuple(extra), 1))
        assert type(found) is type(event)
        assert (found.key, found.event_time_us) == (event.key, event.event_time_us)


def test_a_line_after_the_year_9999_is_refused_before_anything_is_published() -> None:
    line = b'{"type": "film", "id": "f1", "title": "T", "event_time": "9999-12-31T23:59:59-01:00"}'
    event = check(decode_line(line, Position("line", 0, 1), 1))
    assert isinstance(event, Rejected) or encode(event, PROTOBUF).value


@given(item_keys, times)
def test_a_tombstone_takes_its_time_from_its_record(key: ItemKey, time: int) -> None:
    encoded = encode(Delete(key, 0, True, tiny.raw()))
    source = RawRecord(Position("items", 0, 0), encoded.key, encoded.value, (), time)
    assert encoded.value is None
    assert decode(source) == Delete(key, time, True, source)


def test_a_reason_that_quotes_a_long_record_is_cut() -> None:
    value = ItemEvent(item=ItemRef(item_type="x" * 300, item_id="y" * 300), deleted=ItemDeleted()).SerializeToString()
    refused = decode(RawRecord(Position("items", 0, 0), b"film/f1", value, (("content-type", PROTOBUF.encode()),), 0))
    assert isinstance(refused, Rejected)
    assert refused.reason == "KEY_MISMATCH"
    assert len(refused.message) == 500
