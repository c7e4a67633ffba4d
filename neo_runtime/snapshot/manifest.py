"""What a snapshot says of itself. It is written last: a folder without a manifest is no snapshot."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

import msgspec

from neo_runtime.errors import SnapshotError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a snapshot, by its path inside."""

    size: int
    sha256: str


class Counts(msgspec.Struct, frozen=True):
    """Of one item type."""

    items: int
    semantic_ids: int
    colliding_items: int


class Offset(msgspec.Struct, frozen=True):
    """Everything before `next` is in."""

    topic: str
    partition: int
    next: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent state of a catalog."""

    format_version: int
    name: str
    catalog: str
    catalog_id: str
    schema_version: int
    generation: int
    create_time: str
    commit_time_us: int
    counts: dict[str, Counts]
    codebooks: dict[str, str]
    """Item type to fingerprint."""
    offsets: list[Offset]
    files: dict[str, FileEntry]
    runtime_version: str
    labels: dict[str, str] = {}

    @property
    def resource(self) -> str:
        """The name that responses carry."""
        return f"catalogs/{self.catalog}/snapshots/{self.name}"

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())

    @property
    def created_at(self) -> datetime:
        return datetime.fromisoformat(self.create_time)

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decode_manifest(content: bytes, name: str) -> Manifest:
    """SnapshotError where it cannot be read, is of a newer format, or of another snapshot."""
    try:
        version = msgspec.json.decode(content, type=_Versioned).format_version
        if version == FORMAT_VERSION:
            manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"the manifest of snapshot {name} cannot be read ({error}); take another one") from error
    if version != FORMAT_VERSION:
        raise SnapshotError(
            f"snapshot {name} has format {version}, this runtime reads {FORMAT_VERSION}; use the runtime that made it"
        )
    if manifest.name != name:
        raise SnapshotError(f"the manifest in folder {name} is of snapshot {manifest.name}; rename the folder back")
    if unsafe := [path for path in manifest.files if path.startswith("/") or ".." in path.split("/")]:
        raise SnapshotError(f"snapshot {name} names a file outside of its folder ({unsafe[0]}); take another one")
    return manifest


class _Versioned(msgspec.Struct):
    format_version: int


def digest_of(manifest: bytes) -> str:
    """What an alias pins a snapshot by: the manifest holds the checksum of everything else."""
    return hashlib.sha256(manifest).hexdigest()


def is_name(text: str) -> bool:
    """Whether it can be one; a path elsewhere cannot."""
    return bool(_NAME.fullmatch(text))


def check_name(name: str) -> str:
    """SnapshotError for what cannot be a folder on every store, or is an alias by rule."""
    if not is_name(name) or name in ("live", "previous"):
        raise SnapshotError(
            f"{name!r} cannot name a snapshot: up to 100 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit, other than live and previous"
        )
    return name


def default_name(now: datetime, generation: int) -> str:
    """Names sort by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-g{generation}"
