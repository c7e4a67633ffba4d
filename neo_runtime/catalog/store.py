"""The LMDB environment of one catalog: open it safely, read and write in transactions. Its tables: `tables.py`.

Read transactions are short everywhere: an open one makes the file grow.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
from lmdb import verify as _verify_module

from neo_runtime.catalog.tables import TABLES, Transaction
from neo_runtime.errors import CatalogError

MAP_SIZE = 64 << 30  # address space, not disk: growing a map ends live read transactions
MAX_READERS = 1024

lmdb_verify: Any = _verify_module  # untyped; also reads the meta pages without mapping the file


class Store:
    """One open environment. LMDB allows one per process and path: share this object, not the path."""

    def __init__(self, path: Path, *, writable: bool, durable: bool = False, frozen: bool = False) -> None:
        """CatalogError where the folder is missing, damaged, or already has a writer.

        `frozen`: nobody writes there, so nothing is locked, and the folder may be read-only.
        """
        self.path = path
        self._lock = _writer_lock(path) if writable else None
        _refuse_damage(path / "data.mdb", may_create=writable)
        try:
            self._env = lmdb.open(
                str(path), map_size=MAP_SIZE, max_dbs=len(TABLES), max_readers=MAX_READERS, lib_version=0,
                readonly=not writable, metasync=durable, sync=True, readahead=False, lock=not frozen,
            )  # fmt: skip
            self._tables = {name: self._env.open_db(name.encode(), create=writable) for name in TABLES}
            self._env.reader_check()
        except lmdb.Error as error:
            self.close()
            raise CatalogError(
                f"catalog {path} cannot be opened ({error}); restore it, or remove it and load it again"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A short read transaction: copy out what is needed and leave."""
        with self._env.begin() as txn:
            yield Transaction(txn, self._tables)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Everything or nothing; one thread at a time."""
        with self._env.begin(write=True) as txn:
            yield Transaction(txn, self._tables)

    def copy_to(self, folder: Path) -> None:
        """One committed state as `data.mdb` of an empty folder, while writes go on.

        As it lies, free pages too: measured twice as fast as a compacting copy. The read transaction inside is open
        for the length of the copy, so the live file may grow by what is written meanwhile.
        """
        try:
            self._env.copy(str(folder), compact=False)
        except lmdb.Error as error:
            raise CatalogError(f"catalog {self.path} cannot be copied to {folder} ({error})") from error

    def close(self) -> None:
        if hasattr(self, "_env"):
            self._env.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def audit(data: Path) -> list[str]:
    """What is wrong with the pages of an LMDB file that nobody writes; about a second for 12 MB."""
    return [str(problem) for problem in lmdb_verify.verify(str(data), subdir=False)]


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


def _refuse_damage(data: Path, *, may_create: bool) -> None:
    """LMDB maps a truncated file and dies of SIGBUS later, so look at the size that its own meta pages promise."""
    if not data.exists() or (may_create and not data.stat().st_size):  # empty: a crash in the middle of making it
        if may_create:
            return
        raise CatalogError(f"no catalog in {data.parent}; `neo catalog load` makes one")
    with data.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        check = lmdb_verify._Verifier(file, size)
        try:
            check.detect_engine()
            meta = check._read_meta(0, 0)
            pages = max(meta.last_pg, check._read_meta(1, meta.psize).last_pg) + 1
            whole = pages * meta.psize <= size
        except (lmdb_verify.VerifyError, OSError) as error:
            raise CatalogError(
                f"{data} is not a whole LMDB file ({error}); restore it, or remove it and load again"
            ) from error
    # A page past the end is legal where it is free; only the slow audit knows.
    problems = [] if whole else lmdb_verify.verify(str(data), subdir=False)
    if problems:
        raise CatalogError(f"{data} is damaged ({problems[0]}); restore it, or remove it and load the catalog again")
