"""One line of an item file (JSON lines) to an item event.

The format for people and scripts: {"type": "book", "id": "b1", "title": "…", "attributes": {"year": 1951}}.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.item import (
    Availability,
    Delete,
    Event,
    RawRecord,
    Upsert,
    validate_availability,
    validate_key,
    validate_upsert,
)
from neo_runtime.errors import EventError
from neo_runtime.ingest.event import LAST_US, float32, rejected
from neo_runtime.trie.windows import Window
from neo_runtime.types import Attribute, ItemKey, Position

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class WindowLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """From `start` on and before `end`; left out: no bound. No regions: everywhere."""

    start: Moment | None = None
    end: Moment | None = None
    regions: list[str] = []


class ItemLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The file format. Whatever may be left out has a default."""

    type: str
    id: str
    title: str = ""
    description: str = ""
    attributes: dict[str, Attribute] = msgspec.field(default_factory=dict)
    popularity: float = 0.0
    event_time: Moment | None = None
    """RFC 3339; left out: now."""
    embedding: str | list[float] | None = None
    """Base64 of little-endian float32, or numbers."""
    embedding_model: str = ""
    deleted: bool = False
    windows: list[WindowLine] | msgspec.UnsetType | None = msgspec.UNSET
    """When and where the item may be shown, and nothing else of it in this line; null: nothing is said of that."""


_decoder = msgspec.json.Decoder(ItemLine)


def decode_line(line: bytes, position: Position, now_us: int, vector: NDArray[np.float32] | None = None) -> Event:
    """The event that a line holds. Raises nothing. `vector`: the embedding of an upsert that holds none."""
    record = RawRecord(position, None, line, (), now_us)
    try:
        item = _parse(line)
        record = RawRecord(position, f"{item.type}/{item.id}".encode(), line, (), now_us)
        return _event(item, record, vector)
    except EventError as error:
        return rejected(record, error)


def check(event: Event) -> Event:
    """The event, or why no catalog would take it: the rules that need no codebook, applied before publishing."""
    try:
        if isinstance(event, Upsert):
            validate_upsert(event)
        elif isinstance(event, Delete):
            validate_key(event.key)
        elif isinstance(event, Availability):
            validate_availability(event)
    except EventError as error:
        return rejected(event.source, error)
    return event


def _parse(line: bytes) -> ItemLine:
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        reason = "MISSING_FIELD" if "missing required field" in str(error) else "INVALID_VALUE"
        raise EventError(str(error), reason=reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"not a JSON object: {error}", reason="UNDECODABLE") from error


def _event(item: ItemLine, record: RawRecord, vector: NDArray[np.float32] | None) -> Event:
    key = ItemKey(item.type, item.id)
    time_us = record.timestamp_us
    if item.event_time is not None:
        time_us = micros(item.event_time)
    if not 0 <= time_us <= LAST_US:
        raise EventError("event_time is not between the years 1970 and 9999", reason="INVALID_VALUE")
    if item.windows is not msgspec.UNSET:
        if item.title or item.deleted:
            raise EventError("windows stand in a line of their own, without title or deletion", reason="INVALID_VALUE")
        windows = None if item.windows is None else tuple(map(_window, item.windows))
        return Availability(key, time_us, windows, False, record)
    if item.deleted:
        return Delete(key, time_us, False, record)
    embedding = vector if item.embedding is None else _embedding(item.embedding)
    if embedding is None and item.embedding_model:
        raise EventError("embedding_model stands without an embedding", reason="MISSING_FIELD")
    return Upsert(
        key, time_us, item.title, item.description, item.attributes, item.popularity,
        embedding, item.embedding_model, record,
    )  # fmt: skip


def micros(moment: datetime) -> int:
    """Since 1970."""
    since = moment - EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def _window(line: WindowLine) -> Window:
    start, end = (None if moment is None else micros(moment) for moment in (line.start, line.end))
    return Window(start, end, tuple(sorted(set(line.regions))))


def _embedding(given: str | list[float]) -> NDArray[np.float32]:
    if isinstance(given, list):
        with np.errstate(over="ignore"):  # becomes infinite, which is refused like any other infinity
            return np.array(given, np.float32)
    try:
        data = base64.b64decode(given, validate=True)
    except ValueError as error:
        raise EventError(f"embedding is not base64: {error}", reason="UNDECODABLE") from error
    return float32(data)
