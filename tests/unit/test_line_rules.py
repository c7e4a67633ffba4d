"""Every way in which a line of an item file can be wrong: it is refused with a reason before anything is published."""

from __future__ import annotations

import json

import pytest

from neo_runtime.catalog.item import Delete, Rejected, Upsert
from neo_runtime.ingest.line import check, decode_line
from neo_runtime.types import ItemKey, Position

NOW = 1_800_000_000_000_000


def line(**fields: object) -> bytes:
    return json.dumps({"type": "film", "id": "f1", "title": "T", **fields}).encode()


BAD_LINES: dict[str, tuple[str, str, bytes]] = {
    "no JSON": ("UNDECODABLE", "not a JSON object", b"{"),
    "nothing": ("UNDECODABLE", "not a JSON object", b""),
    "no UTF-8": ("UNDECODABLE", "not a JSON object", b'{"type": "\xff"}'),
    "half a surrogate pair": ("UNDECODABLE", "not a JSON object", line(title="\ud800")),
    "two lines in one": ("UNDECODABLE", "not a JSON object", line() + line()),
    "no object": ("INVALID_VALUE", "object", b"[]"),
    "no type": ("MISSING_FIELD", "type", b'{"id": "f1"}'),
    "no id": ("MISSING_FIELD", "id", b'{"type": "film"}'),
    "an unknown field": ("INVALID_VALUE", "titel", line(titel="T")),
    "a title that is no text": ("INVALID_VALUE", "$.title", line(title=7)),
    "no title": ("MISSING_FIELD", "title", line(title="")),
    "a slash in the type": ("INVALID_VALUE", "slash", line(type="a/b")),
    "an empty id": ("MISSING_FIELD", "item_id", line(id="")),
    "a control character in the id": ("INVALID_VALUE", "control", line(id="\u2028")),
    "an attribute that is an object": ("INVALID_VALUE", "attributes", line(attributes={"a": {}})),
    "an attribute over 64 bits": ("INVALID_VALUE", "64 bits", line(attributes={"a": 2**63})),
    "a popularity over all numbers": ("INVALID_VALUE", "popularity", line(popularity=0).replace(b": 0}", b": 1e999}")),
    "a time without a zone": ("INVALID_VALUE", "event_time", line(event_time="2025-06-01T00:00:00")),
    "a time before 1970": ("INVALID_VALUE", "1970", line(event_time="1969-12-31T23:59:59Z")),
    "a deletion before 1970": ("INVALID_VALUE", "1970", line(event_time="1969-12-31T23:59:59Z", deleted=True)),
    "a deletion of no id": ("MISSING_FIELD", "item_id", line(id="", deleted=True)),
    "an embedding that is no base64": ("UNDECODABLE", "base64", line(embedding="?")),
    "an embedding cut inside a number": ("EMBEDDING_MISMATCH", "7 bytes", line(embedding="AAAAAAAAAA==")),
    "a model without an embedding": ("MISSING_FIELD", "embedding_model", line(embedding_model="minilm")),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_refused_before_it_is_published(name: str) -> None:
    reason, says, content = BAD_LINES[name]
    event = check(decode_line(content, Position("line", 0, 4), NOW))
    assert isinstance(event, Rejected)
    assert (event.reason, event.source.value, event.source.position.offset) == (reason, content, 4)
    assert says in event.message


def test_a_line_says_as_much_as_it_has_to() -> None:
    event = check(decode_line(line(), Position("line", 0, 4), NOW))
    assert isinstance(event, Upsert)
    assert (event.key, event.event_time_us, event.title) == (ItemKey("film", "f1"), NOW, "T")
    assert (event.description, event.attributes, event.popularity) == ("", {}, 0.0)
    assert (event.embedding, event.embedding_model) == (None, "")


def test_a_line_may_say_everything() -> None:
    said = {"year": 1951, "score": 8.5, "seen": True, "brand": "B", "genres": ["a", "b"]}
    content = line(
        description="D", attributes=said, popularity=2, event_time="2025-06-01T02:00:00.5+02:00",
        embedding=[1, 0.5], embedding_model="e",
    )  # fmt: skip
    event = check(decode_line(content, Position("line", 0, 4), NOW))
    assert isinstance(event, Upsert)
    assert event.embedding is not None
    assert (event.event_time_us, event.description, event.popularity) == (1_748_736_000_500_000, "D", 2.0)
    assert event.attributes == said
    assert [type(value) for value in event.attributes.values()] == [int, float, bool, str, list]
    assert (event.embedding.tolist(), event.embedding.dtype, event.embedding_model) == ([1, 0.5], "float32", "e")


def test_numbers_and_base64_are_the_same_embedding() -> None:
    events = [decode_line(line(embedding=given), Position("line", 0, 1), NOW) for given in ([1, -2], "AACAPwAAAMA=")]
    assert [event.embedding.tolist() for event in events if isinstance(event, Upsert)] == [[1.0, -2.0]] * 2  # type: ignore[union-attr]


def test_a_deletion_needs_no_title_and_is_no_tombstone() -> None:
    event = check(decode_line(b'{"type": "film", "id": "f1", "deleted": true}', Position("line", 0, 4), NOW))
    assert isinstance(event, Delete)
    assert (event.key, event.event_time_us, event.is_tombstone) == (ItemKey("film", "f1"), NOW, False)
