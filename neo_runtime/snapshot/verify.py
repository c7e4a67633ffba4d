"""Whether a snapshot is what it says: every byte by its checksum, then what its tables say of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.store import audit
from neo_runtime.catalog.tables import Transaction
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.codebook import Codebook, fingerprints
from neo_runtime.snapshot.manifest import MANIFEST, Counts, Manifest
from neo_runtime.snapshot.store import Progress
from neo_runtime.trie import Segment, TypeView
from neo_runtime.trie.type_view import rows_of

_CHUNK = 1 << 20
_SHOWN = 20
Problems = Iterator[str]
Read = Callable[[int], None]
"""Called after each piece of a file with its size."""


def check_files(
    folder: Path, manifest: Manifest, progress: Progress, *, only: str = "", read: Read = lambda size: None
) -> list[str]:
    """Sizes of all files, and the checksums of those whose path begins with `only`."""
    problems = []
    total = sum(entry.size for path, entry in manifest.files.items() if path.startswith(only))
    done = 0
    for path, entry in manifest.files.items():
        try:
            if (size := (folder / path).stat().st_size) != entry.size:
                problems.append(f"{path} has {size:,} bytes instead of {entry.size:,}")
            elif path.startswith(only) and file_digest(folder / path, read) != entry.sha256:
                problems.append(f"{path} does not have the checksum that the manifest names")
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        if path.startswith(only):
            progress(done := done + entry.size, total)
    return problems


def file_digest(path: Path, read: Read = lambda size: None) -> str:
    """In one buffer: a worker checks beside threads that answer, and fresh pages would hold those up."""
    buffer, digest = bytearray(_CHUNK), hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
            read(size)
    return digest.hexdigest()


def verify(folder: Path, manifest: Manifest, progress: Progress, *, deep: bool) -> list[str]:
    """Problems in words, none: it is whole. `deep` also audits LMDB's pages and compares trie, SIDs and items."""
    problems = check_files(folder, manifest, progress)
    known = {*manifest.files, MANIFEST}
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    problems += [f"{path} is not in the manifest" for path in found if path not in known]
    if problems or not deep:
        return problems
    problems = [f"data.mdb: {problem}" for problem in audit(folder / "data.mdb")]
    if problems:
        return problems[:_SHOWN]
    try:
        reader, codebooks = open_reader(folder, frozen=True)
        with closing(reader.store):
            return _first(_contents(reader, codebooks, manifest, progress))
    except Exception as error:  # whatever tables that contradict each other lead to
        return [f"its content cannot be read: {error or type(error).__name__}"]


def _first(problems: Problems) -> list[str]:
    shown: list[str] = []
    for problem in problems:
        if len(shown) == _SHOWN:
            return [*shown, "and more"]
        shown.append(problem)
    return shown


def _contents(
    reader: CatalogReader, codebooks: dict[str, Codebook], manifest: Manifest, progress: Progress
) -> Problems:
    yield from _description(reader, codebooks, manifest)
    total, done = 2 * sum(counts.items for counts in manifest.counts.values()), 0
    view = reader.view()
    with reader.store.read() as txn:  # nobody writes a snapshot: a long transaction costs nothing
        for name in codebooks:
            counts = manifest.counts.get(name, Counts(0, 0, 0))
            yield from _trie_equals_sids(name, view.types[name], txn, canonical=_is_canonical(reader))
            progress(done := done + counts.items, total)
            yield from _items_equal_sids(name, txn, counts)
            progress(done := done + counts.items, total)


def _is_canonical(reader: CatalogReader) -> bool:
    return CollisionPolicy(reader.description.policy) is CollisionPolicy.CANONICAL


def _description(reader: CatalogReader, codebooks: dict[str, Codebook], manifest: Manifest) -> Problems:
    with reader.store.read() as txn:
        state, about, offsets = txn.state(), txn.description(), txn.offsets()
    said = {(offset.topic, offset.partition): offset.next for offset in manifest.offsets}
    counts = {name: Counts(stats.items, stats.sids, stats.colliding) for name, stats in state.stats.items()}
    for what, in_manifest, in_catalog in (
        ("generation", manifest.generation, state.generation),
        ("catalog", manifest.catalog_id, about.catalog_id),
        ("offsets", said, offsets),
        ("counts", manifest.counts, counts),
        ("codebooks", manifest.codebooks, fingerprints(codebooks)),
    ):
        if in_manifest != in_catalog:
            yield f"the manifest says {what} {in_manifest}, the catalog inside {in_catalog}"


def _trie_equals_sids(name: str, view: TypeView, txn: Transaction, *, canonical: bool) -> Problems:
    leaves = view.compacted()
    in_trie = ((int(key), _ids(leaves, leaf)) for leaf, key in enumerate(leaves.keys))
    in_table = ((sid, tuple(i for _, i in bearers[: 1 if canonical else None])) for sid, bearers in txn.sids(name))
    for found, wanted in zip_longest(in_trie, in_table):
        if found != wanted:
            yield f"{name}: the trie holds {_leaf(found)} where the table of SIDs holds {_leaf(wanted)}"
            return  # all that follows is shifted


def _ids(segment: Segment, leaf: int) -> tuple[str, ...]:
    return tuple(segment.row_id(row) for row in rows_of(segment, leaf))


def _leaf(leaf: tuple[int, tuple[str, ...]] | None) -> str:
    return "nothing" if leaf is None else f"{', '.join(leaf[1])} on SID {leaf[0]:#x}"


def _items_equal_sids(name: str, txn: Transaction, counts: Counts) -> Problems:
    live = 0
    for item_id, record in txn.items(name):
        if record.deleted:
            continue
        live += 1
        if item_id not in [bearer for _, bearer in txn.bearers(name, record.sid_key)]:
            yield f"{name}: item {item_id} has SID {record.sid_key:#x}, whose entry does not name it"
    if live != counts.items:
        yield f"{name}: {live:,} items are stored, {counts.items:,} are counted"
    borne = sum(len(bearers) for _, bearers in txn.sids(name))
    if borne != live:
        yield f"{name}: the table of SIDs names {borne:,} items, {live:,} are stored"
