"""The one writer of a catalog: events in, a new generation out.

The order is the guarantee; a crash between any two steps repeats work and loses nothing.
1. embed and quantize what is new (no transaction open: this is the slow part)
2. one write transaction: items, SIDs, log, offsets, dead letters, outbox
3. fold the log into new base segments where it has grown
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from neo_runtime.catalog.batch import Applied, Batch
from neo_runtime.catalog.bulk_lines import FOLDER as BULK_FOLDER
from neo_runtime.catalog.compaction import Compaction, write_segments
from neo_runtime.catalog.encode import ContentEncoder
from neo_runtime.catalog.item import Event
from neo_runtime.catalog.migrations import migrate, refuse_other_schema
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.rebuild import rebuild_missing_base
from neo_runtime.catalog.records import SCHEMA_VERSION, Base, Description, Outgoing
from neo_runtime.catalog.room import is_full
from neo_runtime.catalog.store import MAP_SIZE, Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.embed.base import Embedder
from neo_runtime.errors import CatalogError, MismatchError, StorageError
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.codebook import Codebook, fingerprints, load_codebooks
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.segment import checksum, sync_folder

# Leaves changed since the base before a new base is worth its file: a hundredth of the catalog, or this many.
COMPACT_LEAVES = 2_048
# Changes that leave the delta small (deletions, new popularities of the same items) still make the log longer.
COMPACT_LOG_BYTES = 8 << 20
COMPACT_INLINE_LEAVES = 50_000  # folding as many takes tens of milliseconds; more are folded in another process
COMPACT_AGAIN_S = 30.0  # after a full disk: each try writes whole segments

_log = structlog.get_logger(__name__)


class Catalog:
    """Open one with `create` or `open`. Not thread-safe: it belongs to the thread that applies events."""

    def __init__(
        self, store: Store, codebooks: Mapping[str, Codebook], embedder: Embedder | None,
        named: Iterable[Predicate] = (),
    ) -> None:  # fmt: skip
        """`named`: predicates whose bitmaps every base segment brings along."""
        self.store, self.codebooks, self.named = store, dict(codebooks), tuple(named)
        self.encoder = ContentEncoder(self.codebooks, embedder)
        self.reader = CatalogReader(store, {name: book.space for name, book in codebooks.items()})
        self.policy = CollisionPolicy(self.reader.description.policy)
        self._compact_from = 0.0
        self._compaction: Compaction | None = None
        self._remove_orphans()

    @classmethod
    def create(
        cls, path: Path, codebooks: Mapping[str, Codebook], *, embedder: Embedder | None = None,
        policy: CollisionPolicy = CollisionPolicy.NEAREST_FREE, name: str = "default", durable: bool = False,
        named: Iterable[Predicate] = (), map_size: int = MAP_SIZE,
    ) -> Catalog:  # fmt: skip
        """A new, empty catalog in folder `path`. CatalogError where there is one already."""
        if cls.exists(path):
            raise CatalogError(f"{path} already holds a catalog")
        (path / "segments").mkdir(parents=True, exist_ok=True)
        for codebook in codebooks.values():
            codebook.save(path / "codebooks")
        sync_folder(path / "codebooks")
        store = Store(path, writable=True, durable=durable, map_size=map_size)
        shutil.rmtree(path / BULK_FOLDER, ignore_errors=True)
        with store.write() as txn:
            txn.clear()  # what a bulk load left that a crash cut short
            txn.put_description(
                Description(SCHEMA_VERSION, name, uuid.uuid4().hex[:8], policy.value, fingerprints(codebooks))
            )
        return cls(store, codebooks, embedder, named)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a catalog that was made whole; CatalogError where it is damaged or has a writer."""
        if not (path / "data.mdb").exists():
            return False
        with closing(Store(path, writable=True, map_size=0)) as store, store.read() as txn:
            return txn.is_described()

    @classmethod
    def open(
        cls, path: Path, *, embedder: Embedder | None = None, durable: bool = False, named: Iterable[Predicate] = (),
        map_size: int = MAP_SIZE,
    ) -> Catalog:  # fmt: skip
        """An existing catalog, for writing; one of an older schema is migrated.

        CatalogError where it is missing, damaged, of a newer schema, or has a writer.
        """
        _refuse_missing(path)
        store = Store(path, writable=True, durable=durable, map_size=map_size)
        try:
            migrate(store)
            codebooks = checked_codebooks(path, store)
            rebuild_missing_base(store, {name: book.space for name, book in codebooks.items()})
            _check_segments(path, store, replaced=False)
            return cls(store, codebooks, embedder, named)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        if self._compaction:
            self._compaction.stop()
        self.store.close()

    def apply(
        self, events: Sequence[Event], positions: Mapping[tuple[str, int], int] | None = None, *, publish: bool = False
    ) -> Applied:
        """Events in log order, and the offsets after them, as one transaction.

        `publish`: what became of each item, and dead letters, also wait in the outbox for Kafka.
        """
        encoded = self.encoder.encode(events, self.reader.items)

        def body(txn: Transaction) -> Applied:
            batch = Batch(txn, self.codebooks, self.policy, positions or {}, publish=publish)
            for event, content in zip(events, encoded, strict=True):
                batch.apply(event, content)
            return batch.finish()

        applied = self.store.transact(body)
        self._compact_if_grown()
        return applied

    def outbox(self, limit: int = 1_000, start: int = 0) -> list[tuple[int, Outgoing]]:
        """The oldest records that Kafka has not acknowledged, from number `start` on."""
        with self.store.read() as txn:
            return txn.outbox(limit, start)

    def acknowledge(self, numbers: list[int], positions: Mapping[tuple[str, int], int] | None = None) -> None:
        """Kafka has these: they never have to be sent again. `positions`: where in its topics the next ones go."""

        def body(txn: Transaction) -> None:
            txn.remove_outgoing(numbers)
            for (topic, partition), offset in (positions or {}).items():
                txn.put_offset(topic, partition, offset)

        self.store.transact(body)

    def compact(self) -> int:
        """Fold the log into new base segments; returns their generation. Readers move over by themselves.

        StorageError where there is no room for them; the catalog is as before.
        """
        if self._compaction:
            self._compaction.stop()
            self._compaction = None
        with self._given_up_files(self.store.path / "segments"):
            base = write_segments(self.reader, self.named)
            self._put_base(base)
        self.reader.rebase()
        self._remove_orphans()
        return base.generation

    def _put_base(self, base: Base) -> None:
        def body(txn: Transaction) -> None:
            txn.put_base(base)
            txn.trim_log(base.generation)

        self.store.transact(body)

    def _compact_aside(self) -> None:
        """In a process of its own; the batch after it is over takes the result."""
        if self._compaction is None:
            self._compaction = Compaction(self.store.path, self.named)

    def _finish_compaction(self) -> None:
        if self._compaction is None or not self._compaction.is_over():
            return
        compaction, self._compaction = self._compaction, None
        with self._given_up_files(self.store.path / "segments"):
            self._put_base(compaction.result())
        self.reader.rebase()
        self._remove_orphans()

    @contextmanager
    def _given_up_files(self, folder: Path) -> Iterator[None]:
        """Half-written segments do not stay on a disk that they filled."""
        try:
            yield
        except (OSError, StorageError) as error:
            self._remove_orphans()
            if isinstance(error, OSError) and is_full(error.errno):
                raise StorageError(f"no room in {folder} ({error.strerror}): make room on its disk") from error
            raise

    def _compact_if_grown(self) -> None:
        if time.monotonic() < self._compact_from:
            return
        types = self.reader.view().types.values()
        with self.store.read() as txn:
            is_long = txn.size("log") > COMPACT_LOG_BYTES
        leaves = sum(len(t) for t in types)
        is_grown = is_long or sum(len(t.delta) for t in types) > max(COMPACT_LEAVES, leaves // 100)
        if is_grown or self._compaction:
            try:
                self._finish_compaction()
                if is_grown and leaves > COMPACT_INLINE_LEAVES:
                    self._compact_aside()
                elif is_grown:
                    self.compact()
            except StorageError as error:  # the batch before it is committed: a longer log is all that this costs
                self._compact_from = time.monotonic() + COMPACT_AGAIN_S
                _log.warning("not compacted", error=str(error), again_in_s=COMPACT_AGAIN_S)

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
        codebooks = checked_codebooks(path, store)
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


def checked_codebooks(path: Path, store: Store) -> dict[str, Codebook]:
    """Those that the catalog was made with; refuses a schema that a reader does not know."""
    with store.read() as txn:
        description = txn.description()
    refuse_other_schema(path, description.schema_version)
    codebooks = load_codebooks(path / "codebooks")
    found = fingerprints(codebooks)
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
