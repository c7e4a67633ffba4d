"""The LMDB environment of one catalog: open it safely, read and write in transactions. Its tables: `tables.py`.

- Read transactions are short everywhere: an open one makes the file grow. Long ones are logged and counted.
- The map grows by itself before it is full, while no transaction of this process is open; readers in other processes
  meet that at their next transaction and take over the new size inside `read`.
- A writer notes the file's inode in it, and takes the note away when it closes. A file that carries the note of another
  one was copied while a writer was at work, so that pages of later commits may be in it: it is refused. Not detected is
  a copy that began before the writer's first commit.
- One writer, by a lock on `writer.lock` (flock), which ends with its process, however that ends. It and LMDB's own
  locks and maps need a local file system: over NFS or between machines nothing keeps a second writer out.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import lmdb
import structlog

from neo_runtime.catalog.datafile import Glance, audit, glance, problem_of_metas
from neo_runtime.catalog.gate import Gate
from neo_runtime.catalog.room import back_lock_file, cause, has_address_space, is_full, larger
from neo_runtime.catalog.tables import TABLES, Transaction
from neo_runtime.catalog.usage import Usage
from neo_runtime.errors import CatalogError, StorageError, UnavailableError
from neo_runtime.observability import metrics

MAP_SIZE = 64 << 30  # address space, not disk
MAX_READERS = 1024
HEADROOM_SHARE = 0.2  # of the map; a larger transaction than that makes the map grow in its middle, and is repeated
GROWTH_PATIENCE_S = 1.0
SLOW_READ_S = 1.0
_OWN_TABLE, _INODE = "writer", b"inode"
_LOOKS = 20

__all__ = ["MapGrownError", "Store", "accept_copy", "audit", "no_writer"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class MapGrownError(StorageError):
    """The map was too small for the transaction and is larger now: the same again goes further."""


class Store:
    """One open environment. LMDB allows one per process and path: share this object, not the path."""

    def __init__(
        self, path: Path, *, writable: bool, durable: bool = False, frozen: bool = False, syncs: bool = True,
        as_whole: bool = False, map_size: int = MAP_SIZE,
    ) -> None:  # fmt: skip
        """CatalogError where the folder is missing, damaged, copied at work, or already has a writer.

        `frozen`: nobody writes there, so nothing is locked, and the folder may be read-only. `map_size`: the writer's
        first one; readers take the writer's.
        """
        self.path = path
        self._data = path / "data.mdb"
        self._writable, self._durable, self._frozen = writable, durable, frozen
        self._syncs, self._as_whole = syncs, as_whole
        self._gate, self._slow_places = Gate(), set[str]()
        self._is_marked = False
        self._lock = _writer_lock(path) if writable else None
        try:
            self._open(map_size if writable else 0)
        except BaseException:
            self.close()
            raise

    def _open(self, map_size: int) -> None:
        self._refuse_what_is_no_file()
        try:
            if not self._frozen:
                back_lock_file(self.path / "lock.mdb", MAX_READERS)
            self._env = lmdb.open(
                str(self.path), map_size=map_size, max_dbs=len(TABLES) + 1, max_readers=MAX_READERS, lib_version=0,
                readonly=not self._writable, metasync=self._durable, sync=self._syncs,
                readahead=self._as_whole, lock=not self._frozen,
            )  # fmt: skip
            self.clear_stale_readers()
            self._refuse_damage()
            self._tables, self._own = self._opened_tables()
        except (lmdb.Error, OSError) as error:
            raise CatalogError(
                f"catalog {self.path} cannot be opened ({error}); restore it, or remove it and load it again"
            ) from error
        self._refuse_copy()

    def _opened_tables(self) -> tuple[dict[str, Any], Any]:
        """What there is of them, and our own. A writer makes those that are missing, all at once."""
        names = {name: name.encode() for name in (*TABLES, _OWN_TABLE)}
        if self._writable:
            with self._env.begin(write=True) as txn:
                tables = {name: self._env.open_db(key, txn=txn) for name, key in names.items()}
        else:
            tables = {}
            with self._reading():
                for name, key in names.items():
                    with suppress(lmdb.NotFoundError):
                        tables[name] = self._env.open_db(key, create=False)
        own = tables.pop(_OWN_TABLE, None)
        if not tables:
            raise CatalogError(f"the catalog in {self.path} is not made yet; `neo catalog load` makes one")
        return tables, own

    def _refuse_what_is_no_file(self) -> None:
        is_missing = not self._data.exists()
        if self._writable and (is_missing or not self._data.stat().st_size):  # empty: a crash in the middle of making
            return
        if is_missing:
            raise CatalogError(f"no catalog in {self.path}; `neo catalog load` makes one")
        if problem := problem_of_metas(self._data):
            raise CatalogError(
                f"{self._data} is not a whole LMDB file ({problem}); restore it, or remove it and load again"
            )

    def _refuse_damage(self) -> None:
        """Before the first page is touched through the map."""
        problem = self._glance().problem
        if problem:
            raise CatalogError(f"{self._data} is damaged ({problem}); restore it, or remove it and load again")

    def _glance(self) -> Glance:
        """Seen in a read transaction, which keeps what it sees from being overwritten meanwhile."""
        found: Glance | None = None
        for _ in range(_LOOKS):
            with self._reading() as txn:
                found = glance(self._data, txn.id())
            if found is not None and not found.problem:
                break  # else it may have been the moment at which a meta page is written
        if found is None:
            raise CatalogError(f"{self._data} is not the file that was opened; open the catalog again")
        return found

    def _refuse_copy(self) -> None:
        if self._own is None:
            return
        with self._reading() as txn:
            noted = txn.get(_INODE, db=self._own)
        self._is_marked = noted is not None
        if noted is not None and int.from_bytes(noted) != self._data.stat().st_ino:
            self._is_marked = False  # not ours to take away
            raise CatalogError(
                f"{self._data} was copied while its writer was at work, or after it was killed, and may mix states; "
                "restore a snapshot (`neo snapshot create` copies safely), "
                "or take it as it is with `neo catalog verify --accept`"
            )

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A short read transaction: copy out what is needed and leave."""
        if len(self._tables) < len(TABLES):  # it was just being made, or is of an older schema
            self._tables, self._own = self._opened_tables()
        began = time.monotonic()
        with self._reading() as txn:
            transaction = Transaction(txn, self._tables)
            try:
                yield transaction
            finally:
                del transaction._txn  # LMDB keeps the reader's slot as long as anybody holds it
        if time.monotonic() - began > SLOW_READ_S and not self._frozen:
            self._note_slow_read(time.monotonic() - began, sys._getframe(2))

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        while True:
            with self._gate.passing():
                txn = self._begin_reading()
                if txn is not None:
                    with txn:
                        yield txn
                    return
            self._take_over_map_size()

    def _begin_reading(self) -> Any:
        """None where the writer's map has outgrown ours."""
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            return None
        except lmdb.ReadersFullError:
            self.clear_stale_readers()
        try:
            return self._env.begin()
        except lmdb.ReadersFullError as error:
            raise UnavailableError(
                f"catalog {self.path} has {MAX_READERS} readers at once already", reason="READERS_FULL"
            ) from error

    def _take_over_map_size(self) -> None:
        with self._gate.alone() as is_alone:
            assert is_alone, "a read transaction inside another one"
            self._env.set_mapsize(0)

    def _note_slow_read(self, seconds: float, frame: FrameType) -> None:
        place = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"
        metrics.SLOW_READS.labels(place).inc()
        if place not in self._slow_places:
            self._slow_places.add(place)
            _log.warning("read transaction was open for long", place=place, seconds=round(seconds, 2))

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Everything or nothing; one thread at a time. StorageError where disk or map take no more: try again later."""
        self._keep_headroom()
        try:
            with self._gate.passing(), self._env.begin(write=True) as txn:
                if not self._is_marked:
                    txn.put(_INODE, self._data.stat().st_ino.to_bytes(8), db=self._own)
                yield Transaction(txn, self._tables)
        except lmdb.MapFullError as error:
            if self._grow():
                raise MapGrownError(f"the map of catalog {self.path} was too small and has grown; repeat it") from error
            raise StorageError(f"the map of catalog {self.path} is full and cannot grow: raise the limit") from error
        except lmdb.PanicError as error:  # the meta page of the commit before could not be written
            self._reopen()
            raise StorageError(f"catalog {self.path} could not be written; it was opened anew: repeat it") from error
        except lmdb.Error as error:
            if not is_full(error.code):
                raise
            raise StorageError(
                f"catalog {self.path} cannot be written ({cause(error.code)}); nothing changed: make room on its disk"
            ) from error
        self._is_marked = True

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """`body` in a write transaction; run again from its start where the map had to grow for it."""
        while True:
            try:
                with self.write() as txn:
                    return body(txn)
            except MapGrownError:
                continue

    def sync(self) -> None:
        """What is committed survives a power cut from now on, whether commits are durable or not."""
        self._env.sync(True)

    def _keep_headroom(self) -> None:
        info = self._env.info()
        used = (info["last_pgno"] + 1) * self._env.stat()["psize"]
        if info["map_size"] - used < HEADROOM_SHARE * info["map_size"]:
            self._grow(GROWTH_PATIENCE_S)

    def _grow(self, patience_s: float | None = None) -> bool:
        before = self._env.info()["map_size"]
        after = larger(before)
        if not has_address_space(after):
            return False
        with self._gate.alone(patience_s) as is_alone:
            if is_alone:
                self._env.set_mapsize(after)
        if is_alone:
            _log.info("map grown", catalog=str(self.path), before_bytes=before, after_bytes=after)
        return is_alone

    def _reopen(self) -> None:
        with self._gate.alone():
            map_size = self._env.info()["map_size"]
            self._env.close()
        self._open(map_size)

    def clear_stale_readers(self) -> int:
        """Give back the slots of readers that were killed: their transactions would keep the file growing."""
        return int(self._env.reader_check())

    def usage(self) -> Usage:
        """Measured now, in a read transaction of a few milliseconds."""
        found, info, disk = self._glance(), self._env.info(), os.statvfs(self.path)
        reading = [int(line.split()[2]) for line in self._env.readers().splitlines()[1:] if line.split()[2].isdecimal()]
        return Usage(
            map_bytes=info["map_size"],
            used_bytes=found.pages * found.page_bytes,
            free_bytes=found.free_pages * found.page_bytes,
            disk_free_bytes=disk.f_bavail * disk.f_frsize,
            readers=len(reading),
            max_readers=info["max_readers"],
            oldest_reader_commits=max((info["last_txnid"] - txn_id for txn_id in reading), default=0),
        )

    def copy_to(self, folder: Path) -> None:
        """One committed state as `data.mdb` of an empty folder, while writes go on.

        As it lies, free pages too: measured twice as fast as a compacting copy. Into the page cache, which LMDB's own
        files of copies pass by, since it is read again at once; syncing it is left to the caller. The read transaction
        inside is open for the length of the copy, so the live file may grow by what is written meanwhile.
        """
        try:
            with self._reading(), (folder / "data.mdb").open("xb") as file:  # keeps the map's size while LMDB copies
                self._env.copyfd(file.fileno(), compact=False)
            accept_copy(folder, syncs=False)
        except (lmdb.Error, OSError) as error:
            raise CatalogError(f"catalog {self.path} cannot be copied to {folder} ({error})") from error

    def close(self) -> None:
        if hasattr(self, "_env"):
            with suppress(lmdb.Error):  # a full disk: then the note stays, and is right as long as the file stays
                self._forget_writer()
            self._env.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _forget_writer(self) -> None:
        if self._writable and self._is_marked:
            with self._env.begin(write=True) as txn:
                txn.delete(_INODE, db=self._own)
            self._is_marked = False


def accept_copy(folder: Path, *, syncs: bool = True) -> None:
    """Take the note of another file's writer out of one that is known to be whole, and that nobody can have open."""
    env = lmdb.open(str(folder), max_dbs=1, map_size=0, lib_version=0, lock=False, sync=syncs)
    inode = (folder / "data.mdb").stat().st_ino.to_bytes(8)
    try:
        with suppress(lmdb.NotFoundError), env.begin(write=True) as txn:
            table = env.open_db(_OWN_TABLE.encode(), txn=txn, create=False)
            if txn.get(_INODE, inode, db=table) != inode:
                txn.delete(_INODE, db=table)
    finally:
        env.close()


@contextmanager
def no_writer(path: Path) -> Iterator[None]:
    """Keep every writer out of a folder that is about to get another catalog. CatalogError where one is at work."""
    lock = _writer_lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _writer_lock(path: Path) -> int:
    """Hold `writer.lock` for the life of the process that writes."""
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise CatalogError(f"another process is writing catalog {path}; stop it first") from error
    return descriptor
