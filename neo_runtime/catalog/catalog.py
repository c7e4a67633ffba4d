"""The one writer of a catalog: events in, a new generation out.

The order is the guarantee; a crash between any two steps repeats work and loses nothing.
1. embed and quantize what is new (no transaction open: this is the slow part)
2. one write transaction: items, SIDs, log, offsets, dead letters, outbox
3. fold the log into new base segments where it has grown
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from neo_runtime.catalog.batch import Applied, Batch
from neo_runtime.catalog.encode import ContentEncoder
from neo_runtime.catalog.item import Event
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.records import SCHEMA_VERSION, Base, Description, Outgoing
from neo_runtime.catalog.store import Store
from neo_runtime.embed.base import Embedder
from neo_runtime.errors import CatalogError, MismatchError
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.codebook import Codebook, load_codebooks
from neo_runtime.trie import TrieView, TypeView
from neo_runtime.trie.segment import checksum, sync_folder

# Leaves changed since the base before a new base is worth its file: a hundredth of the catalog, or this many.
COMPACT_LEAVES = 2_048
# Changes that leave the delta small (deletions, new popularities of the same items) still make the log longer.
COMPACT_LOG_BYTES = 8 << 20


class Catalog:
    """Open one with `create` or `open`. Not thread-safe: it belongs to the thread that applies events."""

    def __init__(self, store: Store, codebooks: Mapping[str, Codebook], embedder: Embedder | None) -> None:
        self.store, self.codebooks = store, dict(codebooks)
        self._encoder = ContentEncoder(self.codebooks, embedder)
        self.reader = CatalogReader(store, {name: book.space for name, book in codebooks.items()})
        self.policy = CollisionPolicy(self.reader.description.policy)
        self._remove_orphans()

    @classmethod
    def create(
        cls, path: Path, codebooks: Mapping[str, Codebook], *, embedder: Embedder | None = None,
        policy: CollisionPolicy = CollisionPolicy.NEAREST_FREE, name: str = "default", durable: bool = False,
    ) -> Catalog:  # fmt: skip
        """A new, empty catalog in folder `path`. CatalogError where there is one already."""
        if cls.exists(path):
            raise CatalogError(f"{path} already holds a catalog")
        (path / "segments").mkdir(parents=True, exist_ok=True)
        for codebook in codebooks.values():
            codebook.save(path / "codebooks")
        sync_folder(path / "codebooks")
        store = Store(path, writable=True, durable=durable)
        fingerprints = {key: book.fingerprint for key, book in codebooks.items()}
        with store.write() as txn:
            txn.put_description(Description(SCHEMA_VERSION, name, uuid.uuid4().hex[:8], policy.value, fingerprints))
        return cls(store, codebooks, embedder)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a catalog that was made whole; CatalogError where it is damaged or has a writer."""
        if not (path / "data.mdb").exists():
            return False
        with closing(Store(path, writable=True)) as store, store.read() as txn:
            return txn.is_described()

    @classmethod
    def open(cls, path: Path, *, embedder: Embedder | None = None, durable: bool = False) -> Catalog:
        """An existing catalog, for writing. CatalogError where it is missing, damaged, or has a writer."""
        _refuse_missing(path)
        store = Store(path, writable=True, durable=durable)
        try:
            codebooks = _checked_codebooks(path, store)
            _check_segments(path, store, replaced=False)
            return cls(store, codebooks, embedder)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        self.store.close()

    def apply(
        self, events: Sequence[Event], positions: Mapping[tuple[str, int], int] | None = None, *, publish: bool = False
    ) -> Applied:
        """Events in log order, and the offsets after them, as one transaction.

        `publish`: assignments and dead letters also wait in the outbox for Kafka.
        """
        encoded = self._encoder.encode(events, self.reader.item)
        with self.store.write() as txn:
            batch = Batch(txn, self.codebooks, self.policy, publish=publish)
            for event, content in zip(events, encoded, strict=True):
                batch.apply(event, content)
            applied = batch.finish(positions or {})
        self._compact_if_grown()
        return applied

    def outbox(self, limit: int = 1_000) -> list[tuple[int, Outgoing]]:
        """The oldest records that Kafka has not acknowledged."""
        with self.store.read() as txn:
            return txn.outbox(limit)

    def acknowledge(self, numbers: list[int]) -> None:
        """Kafka has these: they never have to be sent again."""
        with self.store.write() as txn:
            txn.remove_outgoing(numbers)

    def compact(self) -> int:
        """Fold the log into new base segments; returns their generation. Readers move over by themselves."""
        view = self.reader.view()
        folder = self.store.path / "segments"
        segments = {name: type_view.compacted() for name, type_view in view.types.items()}
        files = {name: f"{name}-{view.generation}.seg" for name in segments}
        sums = {name: segment.save(folder / files[name]) for name, segment in segments.items()}
        with self.store.write() as txn:
            txn.put_base(Base(view.generation, files, sums))
            txn.trim_log(view.generation)
        types = {name: TypeView.of_base(segment) for name, segment in segments.items()}
        self.reader.adopt(TrieView(view.generation, types), view.generation)
        self._remove_orphans()
        return view.generation

    def _compact_if_grown(self) -> None:
        types = self.reader.view().types.values()
        with self.store.read() as txn:
            is_long = txn.size("log") > COMPACT_LOG_BYTES
        if is_long or sum(len(t.delta) for t in types) > max(COMPACT_LEAVES, sum(len(t) for t in types) // 100):
            self.compact()

    def _remove_orphans(self) -> None:
        """Segment files that no base names: left by a compaction that a crash cut short, or replaced."""
        with self.store.read() as txn:
            base = txn.base()
        kept = set(base.files.values()) if base else set()
        for path in (self.store.path / "segments").glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def open_reader(path: Path, *, frozen: bool = False) -> tuple[CatalogReader, dict[str, Codebook]]:
    """Follow a catalog that another process writes. CatalogError where it is missing or damaged.

    `frozen`: a snapshot, that nobody writes. Its checksums are in its manifest and are not looked at here.
    """
    _refuse_missing(path)
    store = Store(path, writable=False, frozen=frozen)
    try:
        codebooks = _checked_codebooks(path, store)
        if not frozen:
            _check_segments(path, store, replaced=True)
        return CatalogReader(store, {name: book.space for name, book in codebooks.items()}), codebooks
    except BaseException:
        store.close()
        raise


def check_fingerprints(of_model: Mapping[str, str], of_catalog: Mapping[str, str]) -> None:
    """MismatchError, with the difference named, where model and catalog were not made together."""
    differences = [
        f"{name}: the model has {of_model.get(name, 'none')}, the catalog {of_catalog.get(name, 'none')}"
        for name in sorted({*of_model, *of_catalog})
        if of_model.get(name) != of_catalog.get(name)
    ]
    if differences:
        raise MismatchError(
            "model and catalog do not belong together (" + "; ".join(differences) + "); "
            "serve the model that the catalog's codebooks came with"
        )


def _refuse_missing(path: Path) -> None:
    if not (path / "data.mdb").exists():
        raise CatalogError(f"no catalog in {path}; `neo catalog load` makes one")


def _checked_codebooks(path: Path, store: Store) -> dict[str, Codebook]:
    with store.read() as txn:
        description = txn.description()
    if description.schema_version != SCHEMA_VERSION:
        raise CatalogError(
            f"catalog {path} has schema {description.schema_version}, this runtime reads {SCHEMA_VERSION}; "
            "use the runtime that made it, or load the catalog again"
        )
    codebooks = load_codebooks(path / "codebooks")
    found = {name: book.fingerprint for name, book in codebooks.items()}
    if found != description.codebooks:
        raise MismatchError(f"{path / 'codebooks'} holds {found}, the catalog was made with {description.codebooks}")
    return codebooks


def _check_segments(path: Path, store: Store, *, replaced: bool) -> None:
    with store.read() as txn:
        base = txn.base()
    if base is None:
        return
    for name, file in base.files.items():
        segment = path / "segments" / file
        try:
            is_whole = checksum(segment) == base.checksums[name]
        except FileNotFoundError:  # the writer just replaced it, or the view will say that it is lost
            is_whole = replaced
        if not is_whole:
            raise CatalogError(f"{segment} is damaged; restore the catalog folder, or remove it and load again")
