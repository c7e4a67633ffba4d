"""Snapshots as tests need them: what they hold, damage to them, manifests that agree with the damage."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

import msgspec

from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.snapshot.manifest import MANIFEST, FileEntry, decode_manifest
from neo_runtime.snapshot.verify import file_digest
from neo_runtime.types import ItemKey
from tests.kit import tiny

Homes = dict[ItemKey, tuple[int, str]]
"""Item to its packed SID and its title."""


def homes(reader: CatalogReader) -> tuple[int, Homes]:
    """A generation and what it holds."""
    with reader.store.read() as txn:
        found: Homes = {}
        for kind in tiny.TYPES:
            records = dict(txn.items(kind))
            for sid, bearers in txn.sids(kind):
                found |= {ItemKey(kind, item): (sid, records[item].title) for _, item in bearers}
        return txn.state().generation, found


def inside(folder: Path) -> tuple[int, Homes]:
    reader, _ = open_reader(folder, frozen=True)
    with closing(reader.store):
        return homes(reader)


class Changer(threading.Thread):
    """Publishes, moves and deletes items all the time, and remembers what every generation holds."""

    def __init__(self, catalog: Catalog, pause_s: float = 0.005) -> None:
        super().__init__()
        self.catalog, self.stopped, self.random, self._pause_s = catalog, threading.Event(), random.Random(0), pause_s
        self.generations = dict([homes(catalog.reader)])

    def run(self) -> None:
        time = 100
        while not self.stopped.wait(self._pause_s):
            time += 1
            batch = []
            for _ in range(3):
                item, version = self.random.choice(tiny.items(25)), self.random.randrange(3)
                change = tiny.upsert(item, time=time, version=version, title=f"At {time}")
                batch.append(tiny.delete(item, time=time) if self.random.random() < 0.3 else change)
            self.catalog.apply(batch)
            generation, held = homes(self.catalog.reader)
            self.generations[generation] = held

    def stop(self) -> None:
        self.stopped.set()
        self.join()


def flip(path: Path, place: float) -> None:
    """Change one byte, at a part of the file's length."""
    content = bytearray(path.read_bytes())
    content[min(int(len(content) * place), len(content) - 1)] ^= 0x40
    overwrite(path, bytes(content))


def overwrite(path: Path, content: bytes) -> None:
    """Files of a snapshot are read-only."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def sign_again(folder: Path) -> None:
    """Make the manifest name the files as they are now: damage that no checksum tells."""
    manifest = decode_manifest((folder / MANIFEST).read_bytes(), folder.name)
    files = {path: FileEntry((folder / path).stat().st_size, file_digest(folder / path)) for path in manifest.files}
    overwrite(folder / MANIFEST, msgspec.structs.replace(manifest, files=files).encode())
