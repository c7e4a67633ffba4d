"""Kafka records to item events, and back.

Whatever the bytes are, `decode` returns a value: what it cannot read becomes `Rejected`. Limits on the values
themselves (sizes, finite numbers, known types) are checked where events are applied, for every source alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from neo_runtime.catalog.item import Availability, Delete, Event, RawRecord, Rejected, Upsert
from neo_runtime.catalog.records import MAX_MESSAGE_CHARS
from neo_runtime.errors import EventError
from neo_runtime.trie.windows import Window
from neo_runtime.types import Attribute, ItemKey
from neo_runtime.v1.catalog_events_pb2 import Embedding, ItemAvailabilityChanged, ItemEvent, ItemUpserted
from neo_runtime.v1.catalog_pb2 import AttributeValue, ItemRef

JSON = "application/json"
PROTOBUF = "application/protobuf"
CONTENT_TYPE = "content-type"
LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, where RFC 3339 ends
LAST_US = LAST_SECOND * 1_000_000 + 999_999
FLOAT32_LE = np.dtype("<f4")
M = TypeVar("M", ItemEvent, ItemAvailabilityChanged)


class Encoded(NamedTuple):
    """An item event as a producer sends it."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def decode(record: RawRecord) -> Event:
    """The event that a record of the items topic holds. Raises nothing."""
    try:
        return _decode(record)
    except EventError as error:
        return rejected(record, error)


def decoder(availability_topic: str) -> Callable[[RawRecord], Event]:
    """What reads the records of that topic, and of items topics."""

    def decode_by_topic(record: RawRecord) -> Event:
        return decode_availability(record) if record.position.topic == availability_topic else decode(record)

    return decode_by_topic


def rejected(record: RawRecord, error: EventError) -> Rejected:
    """The message may quote the record: made encodable, and no longer than a dead letter keeps."""
    message = str(error).encode(errors="backslashreplace").decode()
    return Rejected(record, error.reason, message[:MAX_MESSAGE_CHARS])


def encode(event: Upsert | Delete | Availability, content_type: str = JSON) -> Encoded:
    """What `decode` or `decode_availability` turns into the same event again. ValueError where protobuf cannot hold a
    value.
    """
    key = str(event.key).encode()
    if isinstance(event, Delete | Availability) and event.is_tombstone:
        return Encoded(key, None, [])
    item = ItemRef(item_type=event.key.type, item_id=event.key.id)
    message: ItemEvent | ItemAvailabilityChanged
    if isinstance(event, Availability):
        message = ItemAvailabilityChanged(item=item, windows=map(_window_message, event.windows or ()))
    elif isinstance(event, Delete):
        message = ItemEvent(item=item)
        message.deleted.SetInParent()
    else:
        message = ItemEvent(item=item, upserted=_upserted(event))
    message.event_time.FromMicroseconds(event.event_time_us)
    if content_type == PROTOBUF:
        value = message.SerializeToString(deterministic=True)
    elif content_type == JSON:
        value = json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()
    else:
        raise ValueError(f"{content_type!r} is neither {JSON} nor {PROTOBUF}")
    return Encoded(key, value, [(CONTENT_TYPE, content_type.encode())])


def float32(data: bytes) -> NDArray[np.float32]:
    """Little-endian IEEE 754 singles. EventError where the last one is cut."""
    if len(data) % FLOAT32_LE.itemsize:
        raise EventError(f"embedding has {len(data)} bytes, not a multiple of 4", reason="EMBEDDING_MISMATCH")
    return np.frombuffer(data, FLOAT32_LE).astype(np.float32, copy=False)


def decode_availability(record: RawRecord) -> Event:
    """The event that a record of the availability topic holds. Raises nothing."""
    try:
        return _decode_availability(record)
    except EventError as error:
        return rejected(record, error)


def _decode_availability(record: RawRecord) -> Availability:
    key = _key(record.key)
    if record.value is None:
        return Availability(key, _tombstone_time(record), None, True, record)
    message = _parse(record.value, ItemAvailabilityChanged, _content_type(record))
    time_us = _checked(message, key, record)
    return Availability(key, time_us, tuple(map(_window, message.windows)), False, record)


def _window(message: ItemAvailabilityChanged.Window) -> Window:
    start = _micros("start_time", message.start_time) if message.HasField("start_time") else None
    end = _micros("end_time", message.end_time) if message.HasField("end_time") else None
    return Window(start, end, tuple(sorted(set(message.regions))))


def _tombstone_time(record: RawRecord) -> int:
    """It needs none to win."""
    return record.timestamp_us if 0 <= record.timestamp_us <= LAST_US else 0


def _checked(message: ItemEvent | ItemAvailabilityChanged, key: ItemKey, record: RawRecord) -> int:
    """The event's time. EventError where key and value differ."""
    if not message.HasField("item"):
        raise EventError("item is not set", reason="MISSING_FIELD")
    named = ItemKey(message.item.item_type, message.item.item_id)
    if named != key:
        raise EventError(f"the key names {str(key)!r}, the value {str(named)!r}", reason="KEY_MISMATCH")
    return _micros("event_time", message.event_time) if message.HasField("event_time") else _record_time(record)


def _decode(record: RawRecord) -> Event:
    key = _key(record.key)
    if record.value is None:
        return Delete(key, _tombstone_time(record), True, record)
    message = _parse(record.value, ItemEvent, _content_type(record))
    time_us = _checked(message, key, record)
    change = message.WhichOneof("change")
    if change == "upserted":
        return _upsert(key, time_us, message.upserted, record)
    if change == "deleted":
        return Delete(key, time_us, False, record)
    raise EventError("neither upserted nor deleted is set", reason="MISSING_FIELD")


def _key(key: bytes | None) -> ItemKey:
    if key is None:
        raise EventError("the record has no key", reason="MISSING_FIELD")
    try:
        return ItemKey.parse(key.decode())
    except ValueError as error:  # UnicodeDecodeError is one
        raise EventError(f"the key is not of the form type/id in UTF-8: {error}", reason="UNDECODABLE") from error


def _content_type(record: RawRecord) -> str:
    """The last header of that name counts, as Kafka clients have it; parameters such as a charset do not."""
    values = [value for name, value in record.headers if name.lower() == CONTENT_TYPE and value is not None]
    text = values[-1].decode(errors="backslashreplace") if values else JSON
    content_type = text.split(";")[0].strip().lower()
    if content_type not in (JSON, PROTOBUF):
        raise EventError(f"{CONTENT_TYPE} {text!r} is neither {JSON} nor {PROTOBUF}", reason="UNKNOWN_CONTENT_TYPE")
    return content_type


def _parse(value: bytes, kind: type[M], content_type: str) -> M:
    if not value:
        raise EventError("the value is empty; only a null value deletes", reason="MISSING_FIELD")
    try:
        if content_type == PROTOBUF:
            return kind.FromString(value)
        return json_format.Parse(value, kind())
    # The list of what the parsers throw is open: ParseError, DecodeError, UnicodeDecodeError, RecursionError … An
    # exception that gets through here would stop the stream for good.
    except Exception as error:
        raise EventError(f"not an {kind.DESCRIPTOR.name} in {content_type}: {error}", reason="UNDECODABLE") from error


def _upsert(key: ItemKey, time_us: int, item: ItemUpserted, record: RawRecord) -> Upsert:
    attributes = {name: attribute(name, value) for name, value in item.attributes.items()}
    embedding = float32(item.embedding.float32_le) if item.HasField("embedding") else None
    return Upsert(
        key, time_us, item.title, item.description, attributes, item.popularity,
        embedding, item.embedding.model, record,
    )  # fmt: skip


def attribute(name: str, value: AttributeValue) -> Attribute:
    """What a message says. EventError where it says nothing, or a time that does not exist."""
    kind = value.WhichOneof("kind")
    if kind is None:
        raise EventError(f"attribute {name!r} has no value", reason="MISSING_FIELD")
    if kind == "string_list":
        return list(value.string_list.values)
    if kind == "time_value":
        _micros(f"attribute {name!r}", value.time_value)
        return value.time_value.ToJsonString()
    scalar: str | int | float | bool = getattr(value, kind)
    return scalar


def _record_time(record: RawRecord) -> int:
    """Producers set it, in whatever unit they took it to be."""
    if not 0 <= record.timestamp_us <= LAST_US:
        raise EventError("the record's time is not between the years 1970 and 9999", reason="INVALID_VALUE")
    return record.timestamp_us


def _micros(field: str, time: Timestamp) -> int:
    """Microseconds since 1970. The binary encoding can hold times that do not exist."""
    if not (0 <= time.seconds <= LAST_SECOND and 0 <= time.nanos < 1_000_000_000):
        raise EventError(f"{field} is not between the years 1970 and 9999", reason="INVALID_VALUE")
    return int(time.seconds * 1_000_000 + time.nanos // 1_000)


def _window_message(window: Window) -> ItemAvailabilityChanged.Window:
    message = ItemAvailabilityChanged.Window(regions=window.regions)
    if window.start_us is not None:
        message.start_time.FromMicroseconds(window.start_us)
    if window.end_us is not None:
        message.end_time.FromMicroseconds(window.end_us)
    return message


def _upserted(event: Upsert) -> ItemUpserted:
    item = ItemUpserted(title=event.title, description=event.description, popularity=event.popularity)
    for name, value in event.attributes.items():
        item.attributes[name].CopyFrom(attribute_value(value))
    if event.embedding is not None:
        numbers = event.embedding.astype(FLOAT32_LE).tobytes()
        item.embedding.CopyFrom(Embedding(float32_le=numbers, model=event.embedding_model))
    return item


def attribute_value(value: Attribute) -> AttributeValue:
    """What `attribute` turns into the same again."""
    if isinstance(value, bool):
        return AttributeValue(bool_value=value)
    if isinstance(value, int):
        return AttributeValue(int_value=value)
    if isinstance(value, float):
        return AttributeValue(double_value=value)
    if isinstance(value, str):
        return AttributeValue(string_value=value)
    return AttributeValue(string_list=AttributeValue.StringList(values=value))
