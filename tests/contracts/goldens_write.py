"""What the golden files hold, as values. `python -m tests.contracts.goldens_write` writes them anew.

Files other than the segment and the codebook are rows, one Python tuple a line, so that a diff can be read.
"""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from neo_runtime import trie
from neo_runtime.catalog.item import Delete, ItemRecord, RawRecord, Upsert
from neo_runtime.catalog.records import (
    Assignment,
    AvailabilityRecord,
    Base,
    DeadLetter,
    Description,
    PartitionLag,
    State,
    TypeStats,
)
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import LogEntry
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.event import JSON, PROTOBUF, encode
from neo_runtime.ingest.outgoing import OutgoingEncoder
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie.predicate import Condition, Equals, Predicate
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.windows import Window
from neo_runtime.types import ItemKey, Position
from tests.contracts.golden_messages import MESSAGES
from tests.kit import dump

FOLDER = Path(__file__).parent / "goldens"
Row = tuple[Any, ...]

TIME_US = 1_748_736_000_123_456
SOURCE = RawRecord(Position("neo.catalog.items", 3, 41), None, None)
KEY = ItemKey("film", "f/1 ö")
UPSERT = Upsert(
    KEY, TIME_US, "Títle", "Two\nlines",
    {"brand": "B", "year": 1951, "score": 8.25, "seen": True, "genres": ["a", "b"]},
    0.5, np.array([1, -0.5, 0.25], np.float32), "test-vectors", SOURCE,
)  # fmt: skip
EVENTS: dict[str, tuple[Upsert | Delete, str]] = {
    "upserted": (UPSERT, PROTOBUF),
    "upserted as JSON": (UPSERT, JSON),
    "upserted with the least": (Upsert(KEY, TIME_US, "T", "", {}, 0.0, None, "", SOURCE), PROTOBUF),
    "upserted with the least, as JSON": (Upsert(KEY, TIME_US, "T", "", {}, 0.0, None, "", SOURCE), JSON),
    "deleted": (Delete(KEY, TIME_US, False, SOURCE), PROTOBUF),
    "deleted as JSON": (Delete(KEY, TIME_US, False, SOURCE), JSON),
    "tombstone": (Delete(KEY, TIME_US, True, SOURCE), JSON),
}

LEVELS = ([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], [[0.25, 0, 0], [0, 0, -0.5]])
CODEBOOK = Codebook("film", "test-vectors", tuple(np.array(level, np.float32) for level in LEVELS))
FINGERPRINT = "5d49b66f60ddb6cd"
SEGMENT_KEYS, SEGMENT_ITEMS = (0, 3, 6), (("a",), ("c", "b"), ("ö",))
SEGMENT_SHA256 = "47d575c4c505d237be9d9f9cad100285ca617635957c95a46d72d0dc0b7beed7"

LETTER = DeadLetter(
    "neo.catalog.items", 3, 41, b"film/\xff", b"\x00bad", [("content-type", b"application/json"), ("trace", None)],
    "UNDECODABLE", "not an ItemEvent: ö", TIME_US, TIME_US - 1_000,
)  # fmt: skip
DESCRIPTION = Description(2, "default", "0a1b2c3d", "share", {"film": FINGERPRINT})
STATE = State(8, TIME_US, {"film": TypeStats(4, 4, 0)}, {"upserted": 5, "deleted": 1}, 1, 2)
BASE = Base(7, {"film": "film-7.seg"}, {"film": SEGMENT_SHA256})
LAG = [PartitionLag("neo.catalog.items", 3, 42, 50)]
ORIGIN = ("neo.catalog.items", 3, 40)
ITEMS = {
    ItemKey("film", "a"): ItemRecord(
        "A", "About a", dict(UPSERT.attributes), 0.5, TIME_US, False, 0, 0, 0.125, b"0123456789abcdef", *ORIGIN
    ),
    ItemKey("film", "b"): ItemRecord("B", "", {}, 0.0, TIME_US, True, 3, 3, 0.0, b"", *ORIGIN),
    ItemKey("film", "c"): ItemRecord("C", "", {}, 0.25, TIME_US, False, 3, 3, 0.0, b"", *ORIGIN),
    ItemKey("film", "d"): ItemRecord("D", "", {}, 2.0, TIME_US, False, 5, 5, 0.125, b"", *ORIGIN),
    ItemKey("film", "ö"): ItemRecord("Ö", "", {}, 0.0, 0, False, 6, 7, 0.0, b"", *ORIGIN),
}
ASSIGNED = Assignment("film", "ö", replace(ITEMS[ItemKey("film", "a")], sid_key=6, path_key=5), 8)
GONE = Assignment("film", "b", replace(ITEMS[ItemKey("film", "b")], title="", sid_key=0, path_key=0), 8)
FORGOTTEN = Assignment("film", "e", None, 8)
OUTGOING = {
    "assigned": (ASSIGNED, 0), "gone": (GONE, 0), "forgotten": (FORGOTTEN, 0), "dead letter": (LETTER, 0),
    "dead letter without its value": (LETTER, 1), "dead letter without key and headers": (LETTER, 2),
}  # fmt: skip
BEARERS = {0: [(0.5, "a")], 3: [(0.25, "c")], 5: [(2.0, "d")], 6: [(0.0, "ö")]}
LOG: dict[int, LogEntry] = {
    8: {
        "film": [
            (3, (trie.Row("c", {"year": 1951}),)),
            (5, (trie.Row("d", {}, (Window(None, TIME_US, ("north",)),)),)),
        ]
    }
}
SAID = {
    ItemKey("film", "d"): AvailabilityRecord((Window(None, TIME_US, ("north",)),), TIME_US),
    ItemKey("film", "to come"): AvailabilityRecord((), TIME_US, TIME_US + 1),
}
OFFSETS = {("neo.catalog.items", 3): 42, ("events.jsonl", 0): 1 << 40}


def segment() -> Segment:
    leaf_rows = np.cumsum([0, *map(len, SEGMENT_ITEMS)]).astype(np.int32)
    rows = trie.PackedRows.of([trie.Row(item, {"year": 1951}) for leaf in SEGMENT_ITEMS for item in leaf])
    keys = np.array(SEGMENT_KEYS, np.uint64)
    return Segment.build(SidSpace((4, 2)), keys, leaf_rows, rows, [Predicate(must=(Condition("year", Equals(1951)),))])


def events() -> list[Row]:
    """Name, key, value, headers. JSON with sorted keys: a protobuf map has no order."""
    encoded = {name: encode(event, content_type) for name, (event, content_type) in EVENTS.items()}
    return [(name, key, _sorted(value), headers) for name, (key, value, headers) in encoded.items()]


def _sorted(value: bytes | None) -> bytes | None:
    if value is None or not value.startswith(b"{"):
        return value
    assert json.dumps(json.loads(value), ensure_ascii=False).encode() == value
    return json.dumps(json.loads(value), ensure_ascii=False, sort_keys=True).encode()


def outgoing() -> list[Row]:
    """Name, topic, key, value, headers."""
    encoder = OutgoingEncoder("neo.catalog.assignments", Changelog({"film": CODEBOOK}, DESCRIPTION.catalog_id))
    return [(name, *encoder.encode(record, cut)[:4]) for name, (record, cut) in OUTGOING.items()]


def messages() -> list[Row]:
    """Name, bytes."""
    return [(name, message.SerializeToString(deterministic=True)) for name, message in MESSAGES.items()]


def tables() -> list[Row]:
    """Table, key, value: all that a catalog's store can hold."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), writable=True)
        with store.write() as txn:
            txn.put_description(DESCRIPTION)
            txn.put_state(STATE)
            txn.put_base(BASE)
            txn.put_lag(LAG)
            for key, record in ITEMS.items():
                txn.put_item(key, record)
            for sid, bearers in BEARERS.items():
                txn.put_bearers("film", sid, bearers)
            for generation, entry in LOG.items():
                txn.put_log(generation, entry)
            for (topic, partition), offset in OFFSETS.items():
                txn.put_offset(topic, partition, offset)
            for key, said in SAID.items():
                txn.put_availability(key, said)
            txn.put_outgoing(0, ASSIGNED)
            txn.put_outgoing(1, LETTER)
            txn.put_dead_letter(0, LETTER)
        dumped = dump.tables(store)
        store.close()
    return [(table, key, value) for table, rows in dumped.items() for key, value in rows]


ROWS = {"events": events, "outgoing": outgoing, "messages": messages, "tables": tables}


@cache
def files() -> dict[str, bytes]:
    """The binary files of a catalog folder, by their path in it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "segments").mkdir()
        segment().save(Path(folder) / "segments" / BASE.files["film"])
        CODEBOOK.save(Path(folder) / "codebooks")
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def read_rows(name: str) -> list[Row]:
    return [ast.literal_eval(line) for line in (FOLDER / f"{name}.txt").read_text().splitlines()]


def write_rows(name: str, rows: Iterable[Row]) -> None:
    (FOLDER / f"{name}.txt").write_text("".join(f"{row!r}\n" for row in rows))


def main() -> None:
    for name, rows in ROWS.items():
        write_rows(name, rows())
    for path, content in files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_bytes(content)


if __name__ == "__main__":
    main()
