"""What a catalog team says, as values, and its encodings, written here from the interface's description alone."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from neo_runtime.types import ItemKey
from neo_runtime.v1.catalog_events_pb2 import Embedding, ItemEvent
from tests.kit import tiny
from tests.kit.brokers import Record

JSON, PROTOBUF = "application/json", "application/protobuf"
START = datetime(2025, 6, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
PARTITIONS = {"film": 0, "book": 1, "artist": 2}
"""One type, one partition: then the log orders all changes of a type, and with them who gets which SID."""


@dataclass(frozen=True)
class Change:
    """The new state of an item. `time` counts milliseconds since START."""

    item: str
    time: int = 0
    title: str | None = "A title"
    """None: deleted."""
    version: int = 0
    popularity: float = 0.5
    tombstone: bool = False

    @property
    def key(self) -> ItemKey:
        return ItemKey.parse(self.item)

    @property
    def time_us(self) -> int:
        return START_US + self.time * 1_000

    @property
    def time_text(self) -> str:
        return (START + timedelta(milliseconds=self.time)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Bad:
    """Bytes that must become a dead letter, and why."""

    record: Record
    reason: str


Said = Change | Bad


def json_value(change: Change, **other: object) -> bytes:
    """proto3 JSON, the default encoding. `other` replaces fields of the upsert, or removes them where None."""
    event: dict[str, Any] = {
        "item": {"itemType": change.key.type, "itemId": change.key.id}, "eventTime": change.time_text
    }  # fmt: skip
    if change.title is None:
        return json.dumps({**event, "deleted": {"reason": "sold out"}}).encode()
    upserted = {
        "title": change.title, "attributes": {"year": {"intValue": "1951"}}, "popularity": change.popularity,
        "embedding": embedding(tiny.vector(change.key, change.version)), **other,
    }  # fmt: skip
    return json.dumps({**event, "upserted": {name: x for name, x in upserted.items() if x is not None}}).encode()


def embedding(vector: np.ndarray, model: str = tiny.EMBEDDER) -> dict[str, str]:
    return {"float32Le": base64.b64encode(vector.astype("<f4").tobytes()).decode(), "model": model}


def protobuf_value(change: Change) -> bytes:
    event = ItemEvent()
    event.item.item_type, event.item.item_id = change.key
    event.event_time.FromJsonString(change.time_text)
    if change.title is None:
        event.deleted.reason = "sold out"
    else:
        event.upserted.title, event.upserted.popularity = change.title, change.popularity
        event.upserted.attributes["year"].int_value = 1951
        numbers = tiny.vector(change.key, change.version).astype("<f4").tobytes()
        event.upserted.embedding.CopyFrom(Embedding(float32_le=numbers, model=tiny.EMBEDDER))
    return event.SerializeToString()


def record(change: Change, content_type: str = JSON) -> Record:
    """On its type's partition. A tombstone's time is its record's."""
    key, partition = change.item.encode(), PARTITIONS[change.key.type]
    if change.tombstone:
        return Record(key, None, [], partition, change.time_us // 1_000)
    value = json_value(change) if content_type == JSON else protobuf_value(change)
    return Record(key, value, [("content-type", content_type.encode())], partition)


def line(change: Change) -> bytes:
    """As a line of an item file."""
    item: dict[str, Any] = {"type": change.key.type, "id": change.key.id, "event_time": change.time_text}
    if change.title is None:
        return json.dumps({**item, "deleted": True}).encode()
    vector = embedding(tiny.vector(change.key, change.version))
    item |= {"title": change.title, "attributes": {"year": 1951}, "popularity": change.popularity}
    return json.dumps(item | {"embedding": vector["float32Le"], "embedding_model": vector["model"]}).encode()


def random_changes(seed: int, count: int, *, tombstones: bool) -> list[Change]:
    """Upserts, moves, deletes, re-deliveries and times out of order, on items that are few enough to meet often."""
    rng = random.Random(seed)
    items = [f"film/f{n}" for n in range(120)] + [f"book/b{n}" for n in range(30)] + [f"artist/a{n}" for n in range(60)]
    changes: list[Change] = []
    for number in range(count):
        late = rng.choice([0, 0, 0, rng.randrange(60)])
        change = Change(
            rng.choice(items), number + 60 - late, f"Title {rng.randrange(4)}", rng.randrange(3), rng.randrange(3)
        )
        match rng.choices(["upsert", "delete", "tombstone", "again"], [75, 13, 4 * tombstones, 8])[0]:
            case "delete":
                change = replace(change, title=None)
            case "tombstone":
                change = replace(change, title=None, tombstone=True)
            case "again" if changes:
                change = rng.choice(changes[-80:])
        changes.append(change)
    return changes
