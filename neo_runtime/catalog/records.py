"""What the catalog's tables hold beside the items, as typed msgpack values."""

from __future__ import annotations

import time

import msgspec

from neo_runtime.catalog.item import ItemRecord, RawRecord
from neo_runtime.trie.windows import Window
from neo_runtime.types import ItemKey, Position

SCHEMA_VERSION = 2
MAX_MESSAGE_CHARS = 500  # messages quote what was refused, up to the whole value


class Description(msgspec.Struct, frozen=True):
    """Written once, when the catalog is made."""

    schema_version: int
    name: str
    catalog_id: str
    policy: str
    codebooks: dict[str, str]
    """Item type to fingerprint."""


class TypeStats(msgspec.Struct):
    """Counts of one item type."""

    items: int = 0
    sids: int = 0
    colliding: int = 0


class State(msgspec.Struct):
    """Everything that changes with a commit and fits one value."""

    generation: int = 0
    commit_time_us: int = 0
    stats: dict[str, TypeStats] = msgspec.field(default_factory=dict)
    counters: dict[str, int] = msgspec.field(default_factory=dict)
    dead_letters: int = 0
    """Number of the next dead letter, that is how many there ever were."""
    outgoing: int = 0
    """Number of the next outgoing record."""
    assigns: bool = False
    """Whether this catalog was the last to assign, as far as it knows: then its offsets and its outbox count."""
    unannounced: str | None = None
    """Items behind this one, `type/id`, may have states that never waited in the outbox; None: there are none."""

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by


class PartitionLag(msgspec.Struct, array_like=True, frozen=True):
    """How far a log was read, and where it ended then."""

    topic: str
    partition: int
    next_offset: int
    end_offset: int


class Base(msgspec.Struct, frozen=True):
    """The segments that a reader maps at start; the log holds what came after `generation`."""

    generation: int
    files: dict[str, str]
    checksums: dict[str, str]


class AvailabilityRecord(msgspec.Struct, array_like=True, frozen=True):
    """What was said of when and where an item may be shown. `waiting_since_us` 0: the item is there."""

    windows: tuple[Window, ...]
    event_time_us: int
    waiting_since_us: int = 0


class DeadLetter(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A record that was refused, untouched, with its origin and the reason."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    reason: str
    message: str
    time_us: int
    timestamp_us: int = 0
    """The record's own time; 0: not kept."""

    @classmethod
    def of(cls, source: RawRecord, reason: str, message: str) -> DeadLetter:
        """Refused now. Producers can set any time; one that no integer holds is not kept."""
        timestamp_us = source.timestamp_us if 0 <= source.timestamp_us < 1 << 63 else 0
        return cls(
            *source.position, source.key, source.value, list(source.headers), reason, message[:MAX_MESSAGE_CHARS],
            time.time_ns() // 1000, timestamp_us,
        )  # fmt: skip

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


class Assignment(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """The state that an item was left in by a commit. `record` None: its deletion is forgotten too."""

    item_type: str
    item_id: str
    record: ItemRecord | None
    generation: int

    @property
    def key(self) -> ItemKey:
        return ItemKey(self.item_type, self.item_id)


Outgoing = Assignment | DeadLetter
"""What waits in the outbox until Kafka has acknowledged it."""


class _Tagged(msgspec.Struct, array_like=True):
    """The beginning of a record of the outbox."""

    tag: str


_decode_tag = msgspec.msgpack.Decoder(_Tagged).decode


def as_dead_letter(outgoing: bytes) -> DeadLetter | None:
    """What lies in the outbox, if that is a dead letter; an assignment is not decoded."""
    is_one = _decode_tag(outgoing).tag == DeadLetter.__name__
    return msgspec.msgpack.decode(outgoing, type=DeadLetter) if is_one else None
