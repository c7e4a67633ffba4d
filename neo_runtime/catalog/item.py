"""Item events as values, the stored record, and the rules that every event must keep.

Knows nothing of encodings: `ingest` turns bytes into these values, and what it cannot turn into `Rejected`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import EventError
from neo_runtime.trie.windows import Window
from neo_runtime.types import Attribute, ItemKey, Position

FILE_PREFIX = "file:"
"""Of the topic that lines of a loaded file are said to come from."""
MAX_TYPE_BYTES = 64
MAX_ID_BYTES = 256  # type + id + separator stay below LMDB's key limit of 511 bytes
MAX_TITLE_CHARS = 1_000
MAX_DESCRIPTION_CHARS = 20_000
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_BYTES = 4_096
MAX_LIST_VALUES = 256
MAX_WINDOWS = 64
MAX_REGIONS, MAX_REGION_BYTES = 256, 64


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it was read, kept untouched for the dead letter that it may become."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_us: int = 0


@dataclass(frozen=True, slots=True)
class Upsert:
    """The full new state of an item. `embedding` is float32 [dim]; None: the catalog's embedder makes it."""

    key: ItemKey
    event_time_us: int
    title: str
    description: str
    attributes: Mapping[str, Attribute]
    popularity: float
    embedding: NDArray[np.float32] | None
    embedding_model: str
    source: RawRecord


@dataclass(frozen=True, slots=True)
class Delete:
    """The item is gone. A tombstone (null value) carries no time of its own and always wins."""

    key: ItemKey
    event_time_us: int
    is_tombstone: bool
    source: RawRecord


@dataclass(frozen=True, slots=True)
class Availability:
    """When and where an item may be shown, in full. `windows` None: nothing is said of it any more, it is available.

    Kept for an item that is not known yet. A tombstone carries no time of its own and always wins.
    """

    key: ItemKey
    event_time_us: int
    windows: tuple[Window, ...] | None
    is_tombstone: bool
    source: RawRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that must not be applied, with the reason for its dead letter."""

    source: RawRecord
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An item's state as a catalog committed it, to be taken as it is. `record` None: no trace of the item is left.

    `origin` is the id of that catalog, `generation` the one that it was committed in.
    """

    key: ItemKey
    record: ItemRecord | None
    origin: str
    generation: int
    source: RawRecord


Event = Upsert | Delete | Availability | Stored | Rejected


class ItemRecord(msgspec.Struct, array_like=True, frozen=True, omit_defaults=False):
    """What the catalog stores of an item. A deleted item leaves its record, marked, so that older events stay older.

    `path_key` is the packed tuple that the codebook gives the embedding; `sid_key` the one that the item got after
    the collision rule. `content_hash` tells whether an event changes what is embedded.
    """

    title: str
    description: str
    attributes: dict[str, Attribute]
    popularity: float
    event_time_us: int
    deleted: bool
    sid_key: int
    path_key: int
    quantization_error: float
    content_hash: bytes
    source_topic: str
    source_partition: int
    source_offset: int

    def is_newer_than(self, position: Position) -> bool:
        """Whether a later record of the same log led to this state: what stands at `position` is known already.

        A file is no log: it may be loaded again with its lines in another order.
        """
        same_log = (self.source_topic, self.source_partition) == position[:2]
        return same_log and position.offset < self.source_offset and not self.source_topic.startswith(FILE_PREFIX)


class Placement(msgspec.Struct, array_like=True, frozen=True):
    """The part of a stored ItemRecord that says where the item is; its content is skipped, which is the slow part."""

    title: msgspec.Raw
    description: msgspec.Raw
    attributes: msgspec.Raw
    popularity: float
    event_time_us: int
    deleted: bool
    sid_key: int
    path_key: int
    quantization_error: float


def validate_key(key: ItemKey) -> None:
    """EventError where type or id cannot be stored."""
    for name, text, limit in (("item_type", key.type, MAX_TYPE_BYTES), ("item_id", key.id, MAX_ID_BYTES)):
        if not text:
            raise EventError(f"{name} is empty", reason="MISSING_FIELD")
        if (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) > limit:
            raise EventError(f"{name} is over {limit} bytes", reason="VALUE_TOO_LARGE")
        if not text.isprintable():
            raise EventError(f"{name} holds control characters", reason="INVALID_VALUE")
    if "/" in key.type:
        raise EventError("item_type holds a slash, which separates type and id in keys", reason="INVALID_VALUE")


def validate_upsert(event: Upsert) -> None:
    """EventError where a field breaks a limit or cannot be stored."""
    validate_key(event.key)
    if not event.title.strip():
        raise EventError("title is missing", reason="MISSING_FIELD")
    _limit("title", len(event.title), MAX_TITLE_CHARS, "characters")
    _limit("description", len(event.description), MAX_DESCRIPTION_CHARS, "characters")
    _limit("attributes", len(event.attributes), MAX_ATTRIBUTES, "entries")
    for text in (event.title, event.description):
        _encodable("title or description", text)
    if not math.isfinite(event.popularity):
        raise EventError("popularity is not a finite number", reason="INVALID_VALUE")
    if event.event_time_us < 0:
        raise EventError("event_time is before 1970", reason="INVALID_VALUE")
    for name, value in event.attributes.items():
        _validate_attribute(name, value)


def validate_availability(event: Availability) -> None:
    """EventError where a window breaks a limit or is never open."""
    validate_key(event.key)
    _limit("windows", len(event.windows or ()), MAX_WINDOWS, "entries")
    for window in event.windows or ():
        _limit("regions", len(window.regions), MAX_REGIONS, "entries")
        for region in window.regions:
            _encodable("regions", region)
            _limit("a region", len(region.encode()), MAX_REGION_BYTES, "bytes")
            if not region:
                raise EventError("a region is empty", reason="MISSING_FIELD")
        if window.start_us is not None and window.end_us is not None and window.end_us <= window.start_us:
            raise EventError("a window ends before it begins", reason="INVALID_VALUE")


def _validate_attribute(name: str, value: Attribute) -> None:
    if not name:
        raise EventError("an attribute has no name", reason="MISSING_FIELD")
    if isinstance(value, float) and not math.isfinite(value):
        raise EventError(f"attribute {name!r} is not a finite number", reason="INVALID_VALUE")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise EventError(f"attribute {name!r} does not fit 64 bits", reason="INVALID_VALUE")
    texts = [name, *(value if isinstance(value, list) else [value] if isinstance(value, str) else [])]
    _limit(f"attribute {name!r}", len(texts) - 1, MAX_LIST_VALUES, "values")
    for text in texts:
        _encodable(f"attribute {name!r}", text)
    _limit(f"attribute {name!r}", sum(len(text.encode()) for text in texts), MAX_ATTRIBUTE_BYTES, "bytes")


def _encodable(name: str, text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"{name} is not valid Unicode", reason="INVALID_VALUE") from error


def _limit(name: str, size: int, limit: int, unit: str) -> None:
    if size > limit:
        raise EventError(f"{name} has {size} {unit}, over the limit of {limit}", reason="VALUE_TOO_LARGE")
