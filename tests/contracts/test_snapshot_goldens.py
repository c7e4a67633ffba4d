"""Manifests and moves of the aliases as they are written today are what earlier versions wrote, and are read as such.

Snapshots outlive a version: these texts change only with a new format version, or where a field is added.
"""

from __future__ import annotations

import json

import msgspec

from neo_runtime.snapshot.aliases import EVENTS, Alias, AliasState, Target
from neo_runtime.snapshot.manifest import Counts, FileEntry, Manifest, Offset, decode_manifest, digest_of

MANIFEST = Manifest(
    format_version=1, name="20250601T000000Z-g8", catalog="default", catalog_id="0a1b2c3d", schema_version=1,
    generation=8, create_time="2025-06-01T00:00:00+00:00", commit_time_us=1_748_736_000_123_456,
    counts={"film": Counts(1_000, 900, 200)}, codebooks={"film": "0123456789abcdef"},
    offsets=[Offset("neo.catalog.items", 3, 42)], files={"data.mdb": FileEntry(4_096, "5f" * 32)},
    runtime_version="0.1.0", labels={"why": "Ausverkauf ö"},
)  # fmt: skip
MANIFEST_JSON = """{
  "format_version": 1,
  "name": "20250601T000000Z-g8",
  "catalog": "default",
  "catalog_id": "0a1b2c3d",
  "schema_version": 1,
  "generation": 8,
  "create_time": "2025-06-01T00:00:00+00:00",
  "commit_time_us": 1748736000123456,
  "counts": {
    "film": {
      "items": 1000,
      "semantic_ids": 900,
      "colliding_items": 200
    }
  },
  "codebooks": {
    "film": "0123456789abcdef"
  },
  "offsets": [
    {
      "topic": "neo.catalog.items",
      "partition": 3,
      "next": 42
    }
  ],
  "files": {
    "data.mdb": {
      "size": 4096,
      "sha256": "5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"
    }
  },
  "runtime_version": "0.1.0",
  "labels": {
    "why": "Ausverkauf ö"
  }
}
"""
MOVE = AliasState(
    7,
    {
        "live": Alias(Target("b", "22"), 0.25, Target("a", "11")),
        "previous": Alias(EVENTS),
        "stable": Alias(Target("a", "11")),
    },
    "2025-06-01T00:00:00.123+00:00",
    "root@host",
    "live to b for a share of 0.25",
)
MOVE_JSON = {
    "sequence": 7,
    "aliases": {
        "live": {
            "target": {"snapshot": "b", "digest": "22"}, "share": 0.25, "rest": {"snapshot": "a", "digest": "11"}
        },
        "previous": {},
        "stable": {"target": {"snapshot": "a", "digest": "11"}},
    },
    "time": "2025-06-01T00:00:00.123+00:00",
    "actor": "root@host",
    "moved": "live to b for a share of 0.25",
}  # fmt: skip


def test_a_manifest_is_written_and_read_as_it_ever_was() -> None:
    assert MANIFEST.encode().decode() == MANIFEST_JSON
    assert decode_manifest(MANIFEST_JSON.encode(), MANIFEST.name) == MANIFEST
    assert digest_of(MANIFEST.encode()) == "16f793abcdce85d39e9d781ed60ae86d5976eb8c3d9d24bd10b8df52abde2325"


def test_a_manifest_with_fields_of_a_later_version_is_read() -> None:
    later = {**json.loads(MANIFEST_JSON), "colour": "green"}
    assert decode_manifest(json.dumps(later).encode(), MANIFEST.name) == MANIFEST


def test_a_move_of_the_aliases_is_written_and_read_as_it_ever_was() -> None:
    assert json.loads(msgspec.json.encode(MOVE)) == MOVE_JSON
    assert msgspec.json.decode(json.dumps(MOVE_JSON), type=AliasState) == MOVE
