"""Every way in which an event can be wrong, the reason that its dead letter gives, and events that change nothing."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, Event, RawRecord
from neo_runtime.catalog.records import Assignment
from neo_runtime.ingest.event import decode
from neo_runtime.types import ItemKey, Position
from neo_runtime.v1.catalog_events_pb2 import ItemEvent
from tests.kit import dump, tiny

KEY = ItemKey("film", "f1")
VECTOR = tiny.vector(KEY)
JSON_HEADERS = (("content-type", b"application/json"),)
PROTOBUF_HEADERS = (("content-type", b"application/protobuf"),)
NEW = 1_800_000_000_000_000


def embedding(vector: np.ndarray, model: str = tiny.EMBEDDER) -> dict[str, str]:
    return {"float32Le": base64.b64encode(vector.astype("<f4").tobytes()).decode(), "model": model}


def value(item: ItemKey = KEY, time: str | None = "2025-06-01T00:00:00Z", **fields: object) -> bytes:
    """A good upsert, with fields replaced, or left out where None."""
    upserted = {"title": "T", "popularity": 0.5, "embedding": embedding(VECTOR), **fields}
    event = {
        "item": {"itemType": item.type, "itemId": item.id},
        "eventTime": time,
        "upserted": {name: content for name, content in upserted.items() if content is not None},
    }
    return json.dumps({name: content for name, content in event.items() if content is not None}).encode()


def attributes(**named: object) -> dict[str, object]:
    return {"attributes": named}


def protobuf(**fields: Any) -> bytes:
    item = {"item_type": KEY.type, "item_id": KEY.id}
    return ItemEvent(item=item, **fields).SerializeToString()  # type: ignore[arg-type]


@dataclass(frozen=True)
class Bad:
    """A record that must be refused."""

    reason: str
    says: str
    value: bytes | None
    key: bytes | None = b"film/f1"
    headers: tuple[tuple[str, bytes | None], ...] = JSON_HEADERS


def keyed(item_type: str, item_id: str) -> tuple[bytes, bytes]:
    """Value and key that name the same item."""
    return value(ItemKey(item_type, item_id)), f"{item_type}/{item_id}".encode()


LATER = {"seconds": 253_402_300_800}
BEFORE = {"seconds": -1}
LONG_LIST = [f"v{number}" for number in range(257)]
BAD: dict[str, Bad] = {
    "no key": Bad("MISSING_FIELD", "no key", value(), None),
    "no key and no value": Bad("MISSING_FIELD", "no key", None, None),
    "a key without a slash": Bad("UNDECODABLE", "type/id", value(), b"film"),
    "a key without an id": Bad("UNDECODABLE", "type/id", value(), b"film/"),
    "a key that is no UTF-8": Bad("UNDECODABLE", "UTF-8", value(), b"film/\xff"),
    "another key": Bad("KEY_MISMATCH", "'film/f2', the value 'film/f1'", value(), b"film/f2"),
    "an empty value": Bad("MISSING_FIELD", "only a null value deletes", b""),
    "no JSON": Bad("UNDECODABLE", "application/json", b"{"),
    "JSON that is no object": Bad("UNDECODABLE", "application/json", b"7"),
    "JSON with an unknown field": Bad("UNDECODABLE", "titel", value(titel="T")),
    "JSON with a field of another type": Bad("UNDECODABLE", "title", value(title=7)),
    "JSON that nests without end": Bad("UNDECODABLE", "application/json", b"[" * 100_000),
    "JSON that is no UTF-8": Bad("UNDECODABLE", "application/json", b'{"item": "\xff"}'),
    "JSON with half a surrogate pair": Bad("UNDECODABLE", "application/json", value(title="\ud800")),
    "two changes at once": Bad("UNDECODABLE", "oneof", value()[:-1] + b', "deleted": {}}'),
    "protobuf said to be JSON": Bad("UNDECODABLE", "application/json", protobuf(deleted={})),
    "JSON said to be protobuf": Bad("UNDECODABLE", "application/protobuf", value(), headers=PROTOBUF_HEADERS),
    "another content type": Bad(
        "UNKNOWN_CONTENT_TYPE", "'text/csv'", value(), headers=(("content-type", b"text/csv"),)
    ),
    "a content type after a right one": Bad(
        "UNKNOWN_CONTENT_TYPE", "'x'", value(), headers=(*JSON_HEADERS, ("Content-Type", b"x"))
    ),
    "a content type that is no text": Bad(
        "UNKNOWN_CONTENT_TYPE", "xff", value(), headers=(("content-type", b"\xff"),)
    ),
    "no item": Bad("MISSING_FIELD", "item is not set", b'{"deleted": {}}'),
    "no change": Bad("MISSING_FIELD", "neither upserted nor deleted", protobuf(), headers=PROTOBUF_HEADERS),
    "a time before 1970": Bad("INVALID_VALUE", "event_time", value(time="1969-12-31T23:59:59Z")),
    "a time before 1970 in protobuf": Bad(
        "INVALID_VALUE", "event_time", protobuf(event_time=BEFORE, deleted={}), headers=PROTOBUF_HEADERS
    ),
    "a time after 9999": Bad(
        "INVALID_VALUE", "event_time", protobuf(event_time=LATER, deleted={}), headers=PROTOBUF_HEADERS
    ),
    "no time at all": Bad("UNDECODABLE", "application/json", value(time="yesterday")),
    "an unknown type": Bad("UNKNOWN_TYPE", "'song' is not one of artist, book, film", *keyed("song", "s1")),
    "an id with a control character": Bad("INVALID_VALUE", "item_id holds control", *keyed("film", "a\tb")),
    "an id with NUL": Bad("INVALID_VALUE", "item_id holds control", *keyed("film", "a\0b")),
    "a type with a control character": Bad("INVALID_VALUE", "item_type holds control", *keyed("fi\nlm", "a")),
    "a long id": Bad("VALUE_TOO_LARGE", "item_id is over 256 bytes", *keyed("film", "é" * 129)),
    "a long type": Bad("VALUE_TOO_LARGE", "item_type is over 64 bytes", *keyed("t" * 65, "a")),
    "a tombstone for an id with NUL": Bad("INVALID_VALUE", "item_id holds control", None, b"film/a\0b"),
    "no title": Bad("MISSING_FIELD", "title", value(title=None)),
    "a blank title": Bad("MISSING_FIELD", "title", value(title=" \n")),
    "a long title": Bad("VALUE_TOO_LARGE", "title has 1001 characters", value(title="t" * 1_001)),
    "a long description": Bad("VALUE_TOO_LARGE", "description has 20001", value(description="d" * 20_001)),
    "many attributes": Bad(
        "VALUE_TOO_LARGE", "attributes has 65", value(**attributes(**{f"a{n}": {"intValue": 1} for n in range(65)}))
    ),
    "a long attribute": Bad(
        "VALUE_TOO_LARGE", "attribute 'a' has", value(**attributes(a={"stringValue": "é" * 2_048}))
    ),
    "a long list": Bad("VALUE_TOO_LARGE", "257 values", value(**attributes(a={"stringList": {"values": LONG_LIST}}))),
    "an attribute without a name": Bad(
        "MISSING_FIELD", "no name", value(attributes={"": {"intValue": 1}})
    ),
    "an attribute without a value": Bad("MISSING_FIELD", "'a' has no value", value(**attributes(a={}))),
    "an attribute that is no number": Bad("INVALID_VALUE", "finite", value(**attributes(a={"doubleValue": "NaN"}))),
    "an attribute of another time": Bad(
        "INVALID_VALUE", "attribute 'a'", value(**attributes(a={"timeValue": "1960-01-01T00:00:00Z"}))
    ),
    "a popularity that is no number": Bad("INVALID_VALUE", "popularity", value(popularity="NaN")),
    "an infinite popularity": Bad("INVALID_VALUE", "popularity", value(popularity="-Infinity")),
    "no embedding, and nobody to make one": Bad("EMBEDDING_MISSING", "no embedder", value(embedding=None)),
    "a short embedding": Bad("EMBEDDING_MISMATCH", "7 numbers, the codebook 8", value(embedding=embedding(VECTOR[:7]))),
    "an empty embedding": Bad("EMBEDDING_MISMATCH", "0 numbers", value(embedding={"model": tiny.EMBEDDER})),
    "an embedding cut inside a number": Bad(
        "EMBEDDING_MISMATCH", "7 bytes", value(embedding={"float32Le": "AAAAAAAAAA=="})
    ),
    "an embedding of another model": Bad(
        "EMBEDDING_MISMATCH", "'minilm', the codebook of 'test-vectors'", value(embedding=embedding(VECTOR, "minilm"))
    ),
    "an embedding that is not finite": Bad(
        "INVALID_VALUE", "not finite", value(embedding=embedding(np.append(VECTOR[:7], np.float32(np.inf))))
    ),
    "an embedding that is no number": Bad(
        "INVALID_VALUE", "not finite", value(embedding=embedding(np.append(VECTOR[:7], np.float32(np.nan))))
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds film/f0 to film/f2, of which the last was deleted; no embedder."""
    folder = tmp_path_factory.mktemp("whole") / "c"
    made = tiny.catalog(folder, 3)
    made.apply([tiny.delete("film/f2", time=5)])
    made.close()
    return folder


@pytest.fixture
def catalog(whole: Path, tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.open(shutil.copytree(whole, tmp_path / "c"))
    yield opened
    opened.close()


def changed(before: dict[str, dump.Rows], after: dict[str, dump.Rows]) -> set[str]:
    return {table for table in before if before[table] != after[table]}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_becomes_a_dead_letter_with_its_reason_and_nothing_else(catalog: Catalog, name: str) -> None:
    bad, before = BAD[name], dump.tables(catalog.store)
    source = RawRecord(Position("items", 2, 9), bad.key, bad.value, bad.headers, 3)
    applied = catalog.apply([decode(source)], {("items", 2): 10})
    with catalog.store.read() as txn:
        ((number, letter),) = txn.dead_letters()
        counters = txn.state().counters
    assert letter.reason == bad.reason
    assert bad.says in letter.message
    assert (letter.key, letter.value, tuple(letter.headers)) == (bad.key, bad.value, bad.headers)
    assert (number, letter.position) == (0, source.position)
    assert (applied.dead_letters, applied.generation) == (1, 2)
    assert counters[f"dead_letters.{bad.reason}"] == 1
    assert changed(before, dump.tables(catalog.store)) == {"meta", "offsets", "dead_letters"}


@pytest.mark.parametrize(
    "fields",
    [{"embedding": embedding(VECTOR, "m" * 50_000)}, {"attributes": {"a" * 50_000: {"intValue": 1}}}],
    ids=["embedding", "attribute"],
)
def test_a_dead_letters_message_is_short_whatever_it_quotes(catalog: Catalog, fields: dict[str, object]) -> None:
    catalog.apply([decode(RawRecord(Position("items", 0, 0), b"film/f1", value(**fields), JSON_HEADERS, 3))])
    with catalog.store.read() as txn:
        ((_, letter),) = txn.dead_letters()
    assert len(letter.message) <= 1_000


def test_the_same_event_without_what_is_wrong_is_applied(catalog: Catalog) -> None:
    for number, headers in enumerate(
        [JSON_HEADERS, (), (("content-type", None),), (("CONTENT-TYPE", b"Application/JSON; x"),)]
    ):
        time = f"2025-06-0{number + 1}T00:00:00Z"
        event = decode(RawRecord(Position("items", 0, number), b"film/f1", value(time=time), headers, 3))
        assert catalog.apply([event]).dead_letters == 0
        assert (record := catalog.reader.item(KEY))
        assert record.source_offset == number


SAME = tiny.upsert("film/f1", time=1)
NO_OPS: dict[str, tuple[str, Event]] = {
    "a tombstone for an unknown item": ("unknown_deletes", tiny.delete("film/nobody", tombstone=True)),
    "a tombstone for an unknown type": ("unknown_deletes", tiny.delete("song/nobody", tombstone=True)),
    "a deletion of an unknown type": ("unknown_deletes", tiny.delete("song/nobody", time=9)),
    "an older upsert": ("stale", tiny.upsert("film/f1", time=0, title="Old", version=7)),
    "an older deletion": ("stale", tiny.delete("film/f1", time=0)),
    "an older upsert of a deleted item": ("stale", tiny.upsert("film/f2", time=4)),
    "an older deletion of a deleted item": ("stale", tiny.delete("film/f2", time=4)),
    "a record before the stored offset": ("replayed", tiny.upsert("film/f1", time=9, title="Again")),
}


@pytest.mark.parametrize("name", NO_OPS)
def test_an_event_that_says_nothing_new_is_counted_and_changes_nothing(catalog: Catalog, name: str) -> None:
    counted, event = NO_OPS[name]
    if counted == "replayed":
        catalog.apply([], {("test", 0): 1})
    before, state, view = dump.tables(catalog.store), catalog.reader.state(), catalog.reader.view()
    applied = catalog.apply([event], publish=True)
    after = catalog.reader.state()
    assert (getattr(applied, counted), applied.generation) == (1, state.generation)
    assert after.counters.pop(counted) == state.counters.pop(counted, 0) + 1
    assert after == state
    assert changed(before, dump.tables(catalog.store)) == {"meta"}
    assert catalog.reader.view() is view


def test_the_same_event_again_leaves_the_item_as_it_is(catalog: Catalog) -> None:
    before = dump.tables(catalog.store)
    applied = catalog.apply([SAME], publish=True)
    assert (applied.unchanged, applied.upserted) == (1, 0)
    assert changed(before, dump.tables(catalog.store)) <= {"meta", "log"}, "no item, no SID, nothing to publish"
    with catalog.store.read() as txn:
        assert dict(txn.log_after(2)) == {3: {}}


def test_the_same_event_later_moves_the_items_time_alone(catalog: Catalog) -> None:
    old = catalog.reader.item(KEY)
    assert old is not None
    assert catalog.apply([tiny.upsert("film/f1", time=8)], publish=True).unchanged == 1
    new = catalog.reader.item(KEY)
    assert new is not None
    assert (new.event_time_us, new.sid_key, new.title) == (8, old.sid_key, old.title)
    assert [outgoing for _, outgoing in catalog.outbox()] == [Assignment("film", "f1", new, 3)]


@pytest.mark.parametrize("tombstone", [False, True])
def test_a_deletion_again_keeps_the_item_deleted(catalog: Catalog, tombstone: bool) -> None:
    view = catalog.reader.view()
    applied = catalog.apply([tiny.delete("film/f2", time=5, tombstone=tombstone)], publish=True)
    assert (applied.unchanged, applied.deleted) == (1, 0)
    assert catalog.outbox() == []
    assert len(catalog.reader.view().types["film"]) == len(view.types["film"]) == 2


def test_a_deletion_of_an_unknown_item_keeps_older_upserts_out(catalog: Catalog) -> None:
    assert catalog.apply([tiny.delete("film/early", time=9)]).unknown_deletes == 1
    assert catalog.apply([tiny.upsert("film/early", time=8)]).stale == 1
    assert catalog.apply([tiny.upsert("film/early", time=9)]).upserted == 1


def test_a_tombstone_wins_over_any_time(catalog: Catalog) -> None:
    catalog.apply([tiny.upsert("film/f1", time=NEW)])
    assert catalog.apply([Delete(KEY, 0, True, tiny.raw())]).deleted == 1
    record = catalog.reader.item(KEY)
    assert record is not None
    assert (record.deleted, record.event_time_us) == (True, NEW)
