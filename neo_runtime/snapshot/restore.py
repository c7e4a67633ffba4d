"""From a snapshot to a folder: a new live catalog that catches up from the offsets inside, or a worker's own copy."""

from __future__ import annotations

import shutil
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from neo_runtime.catalog.store import Store, no_writer
from neo_runtime.errors import CatalogError, SnapshotError
from neo_runtime.snapshot.create import COPIED_FOLDERS
from neo_runtime.snapshot.manifest import MANIFEST, Manifest
from neo_runtime.snapshot.snapshots import Snapshot
from neo_runtime.snapshot.store import Progress, SnapshotStore, staged_folder
from neo_runtime.snapshot.verify import Read, check_files, file_digest
from neo_runtime.trie.segment import sync_folder

FETCHED, REPLACED = "fetched", "replaced"
KEPT_FETCHED = 3


def restore(
    store: SnapshotStore, snapshot: Snapshot, catalog: Path, progress: Progress, *, replace: bool = False
) -> str:
    """Make a snapshot the live catalog in `catalog`; returns the new catalog's id. Its catalog worker must not run.

    A catalog that is there is refused, or with `replace` moved into the folder `replaced`.

    The id is new: from here on its generations are others than those that the old catalog went on to.
    """
    with no_writer(catalog), staged_folder(catalog) as staged:
        if is_occupied(catalog) and not replace:
            raise CatalogError(f"{catalog} already holds a catalog; use --replace, or name another folder")
        copy_checked(store, snapshot.manifest, staged, progress)
        catalog_id = _renamed(staged)
        _move_aside(catalog)
        for folder in COPIED_FOLDERS:
            if (staged / folder).is_dir():
                (staged / folder).rename(catalog / folder)
        (staged / "segments").mkdir(exist_ok=True)  # none before the first compaction
        (staged / "segments").rename(catalog / "segments")
        (staged / "data.mdb").rename(catalog / "data.mdb")  # last: before it there is no catalog
    sync_folder(catalog)
    return catalog_id


def is_occupied(catalog: Path) -> bool:
    return (catalog / "data.mdb").exists()


def _move_aside(catalog: Path) -> None:
    """What was there, or what a crash in the middle of this left, `data.mdb` first. Event file and snapshots stay."""
    aside = catalog / REPLACED / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:4]}"
    for name in ("data.mdb", "lock.mdb", "segments", *COPIED_FOLDERS):
        if (catalog / name).exists():
            aside.mkdir(parents=True, exist_ok=True)
            (catalog / name).rename(aside / name)


def copy_checked(
    store: SnapshotStore, manifest: Manifest, target: Path, progress: Progress, read: Read = lambda size: None
) -> None:
    """All files but the manifest, each with the size and checksum that it must have."""
    done = 0
    for path, entry in manifest.files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.fetch(manifest.name, path, file)
        except OSError as error:
            raise SnapshotError(f"{path} of snapshot {manifest.name} cannot be copied ({error})") from error
        if file.stat().st_size != entry.size or file_digest(file, read) != entry.sha256:
            raise SnapshotError(f"{path} of snapshot {manifest.name} is damaged; use another snapshot")
        progress(done := done + entry.size, manifest.size_bytes)


def _renamed(folder: Path) -> str:
    store = Store(folder, writable=True, durable=True)
    with closing(store), store.write() as txn:
        about = msgspec.structs.replace(txn.description(), catalog_id=uuid.uuid4().hex[:8])
        txn.put_description(about)
    for leftover in ("lock.mdb", "writer.lock"):
        (folder / leftover).unlink(missing_ok=True)
    return about.catalog_id


def on_this_machine(store: SnapshotStore, snapshot: Snapshot, catalog: Path, read: Read = lambda size: None) -> Path:
    """The snapshot's folder, fetched beside the catalog where it lies elsewhere. SnapshotError where it is damaged.

    Of a local one, the sizes and the trie's checksums are looked at, which also brings the trie into memory; all
    checksums were looked at when it was promoted.
    """
    folder = store.local(snapshot.manifest.name)
    if folder is not None:
        problems = check_files(folder, snapshot.manifest, lambda done, total: None, only="segments/", read=read)
        if problems:
            raise SnapshotError(f"snapshot {snapshot.manifest.name} is damaged: {problems[0]}")
        return folder
    root = catalog / FETCHED
    folder = root / f"{snapshot.manifest.name}-{snapshot.digest[:12]}"
    if not folder.exists():
        with staged_folder(root) as staged:
            copy_checked(store, snapshot.manifest, staged, lambda done, total: None, read)
            (staged / MANIFEST).write_bytes(snapshot.manifest.encode())
            try:
                staged.rename(folder)
            except OSError:  # another worker of this machine was first
                if not folder.exists():
                    raise
    folder.touch()
    newest_first = sorted((path for path in root.glob("[!.]*")), key=lambda path: -path.stat().st_mtime)
    for old in newest_first[KEPT_FETCHED:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
