"""Take a snapshot: copy one committed state while writes go on, place it whole.

The order is the guarantee; a crash before the last step leaves no snapshot, and its folder goes with the next one.
1. copy the segments that the catalog names now, then `data.mdb` as of one commit
2. read from that copy what it needs; where the writer compacted in between, copy again
3. fold the log into the segments, so that a worker opens the snapshot without reading a log
4. checksums, fsync, manifest
5. place the folder
The disk writes what is copied from its first moment on, while 3 and 4 read it from memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from neo_runtime.catalog.catalog import checked_codebooks, open_reader
from neo_runtime.catalog.compaction import write_segments
from neo_runtime.catalog.records import Base
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.errors import CatalogError, SnapshotError
from neo_runtime.snapshot.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    Counts,
    FileEntry,
    Manifest,
    Offset,
    check_name,
    default_name,
)
from neo_runtime.snapshot.store import Progress, SnapshotStore, staged_folder
from neo_runtime.snapshot.verify import file_digest
from neo_runtime.trie.segment import sync_folder

COPIED_FOLDERS, DATA = ("codebooks", "embedder"), "data.mdb"
_TRIES = 5


def create_snapshot(
    catalog: Path, store: SnapshotStore, *, name: str = "", labels: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Manifest:  # fmt: skip
    """From any process that can read the catalog, also beside its writer. `name` empty: time and generation."""
    if name and store.manifest(check_name(name)) is not None:
        raise SnapshotError(f"there already is a snapshot {name}; give the new one another --name")
    with (
        closing(Store(catalog, writable=False, as_whole=True)) as source,
        staged_folder(store.staging(catalog)) as staged,
        ThreadPoolExecutor(1) as disk,
    ):
        checked_codebooks(catalog, source)
        _copy(source, staged)
        written = disk.submit(_sync, staged / DATA)
        base = _fold_log(staged)
        files = _finished_files(staged, base, disk, progress)
        written.result()
        manifest = _describe(staged, files, name, labels or {})
        _write_durably(staged / MANIFEST, manifest.encode())
        sync_folder(staged)
        store.place(staged, manifest.name, progress)
    return manifest


def _copy(source: Store, staged: Path) -> None:
    for folder in COPIED_FOLDERS:
        if (source.path / folder).is_dir():
            shutil.copytree(source.path / folder, staged / folder, copy_function=shutil.copyfile)
    for _ in range(_TRIES):
        (staged / DATA).unlink(missing_ok=True)
        shutil.rmtree(staged / "segments", ignore_errors=True)
        (staged / "segments").mkdir()
        try:
            _copy_segments(_base(source), source.path, staged)
            source.copy_to(staged)
            with closing(Store(staged, writable=False, frozen=True)) as copied:
                base = _base(copied)
            _copy_segments(base, source.path, staged)
        except FileNotFoundError:  # the writer compacted while we copied
            continue
        _keep_segments(staged, base)
        return
    raise CatalogError(f"the segments of {source.path} change or are missing; restore the catalog, or load it again")


def _fold_log(staged: Path) -> Base | None:
    """Returns the base that there is from then on."""
    reader, _ = open_reader(staged, frozen=True)
    with closing(reader.store) as store:
        with store.read() as txn:
            if not txn.entries("log"):
                return txn.base()
        # bitmaps that the segments bring along are brought along further
        types = reader.view().types.values()
        base = write_segments(reader, {name for view in types for name in view.base.filters.prepared})

    def put(txn: Transaction) -> None:
        txn.put_base(base)
        txn.trim_log(base.generation)

    with closing(Store(staged, writable=True, syncs=False)) as store:
        store.transact(put)
    for leftover in ("lock.mdb", "writer.lock"):
        (staged / leftover).unlink()
    _keep_segments(staged, base)
    return base


def _base(store: Store) -> Base | None:
    with store.read() as txn:
        return txn.base()


def _copy_segments(base: Base | None, source: Path, staged: Path) -> None:
    """Copied, not linked: what damages the live catalog's files must not reach its snapshots."""
    if base is None:
        return
    for name, file in base.files.items():
        copied = staged / "segments" / file
        if not copied.exists():
            shutil.copyfile(source / "segments" / file, copied)
            if file_digest(copied) != base.checksums[name]:
                raise CatalogError(
                    f"{source / 'segments' / file} is damaged; restore the catalog folder, or remove it and load again"
                )


def _keep_segments(staged: Path, base: Base | None) -> None:
    for path in (staged / "segments").iterdir():
        if not base or path.name not in base.files.values():
            path.unlink()


def _finished_files(
    staged: Path, base: Base | None, disk: ThreadPoolExecutor, progress: Progress
) -> dict[str, FileEntry]:
    """Every file on disk, read-only, with its checksum. Those of the base's segments are known."""
    paths = sorted(path for path in staged.rglob("*") if path.is_file())
    known = {f"segments/{file}": base.checksums[name] for name, file in base.files.items()} if base else {}
    total, done, entries = sum(path.stat().st_size for path in paths), 0, {}

    def read(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    written = [disk.submit(_sync, path) for path in paths]
    for path in paths:
        path.chmod(0o444)
        name, size = path.relative_to(staged).as_posix(), path.stat().st_size
        if name in known:
            read(size)
        entries[name] = FileEntry(size, known.get(name) or file_digest(path, read))
    for one in written:
        one.result()
    for folder in (path for path in staged.rglob("*") if path.is_dir()):
        sync_folder(folder)
    return entries


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _describe(staged: Path, files: dict[str, FileEntry], name: str, labels: Mapping[str, str]) -> Manifest:
    """From the copy itself: what it says is what it holds."""
    now = datetime.now(UTC)
    with closing(Store(staged, writable=False, frozen=True)) as store, store.read() as txn:
        about, state, offsets = txn.description(), txn.state(), txn.offsets()
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name or default_name(now, state.generation),
        catalog=about.name,
        catalog_id=about.catalog_id,
        schema_version=about.schema_version,
        generation=state.generation,
        create_time=now.isoformat(timespec="seconds"),
        commit_time_us=state.commit_time_us,
        counts={kind: Counts(stats.items, stats.sids, stats.colliding) for kind, stats in sorted(state.stats.items())},
        codebooks=about.codebooks,
        offsets=[Offset(topic, partition, number) for (topic, partition), number in sorted(offsets.items())],
        files=files,
        runtime_version=version("neo-runtime"),
        labels=dict(labels),
    )


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
