"""An LMDB data file as bytes, never mapped: reading past the end of a mapped file kills the process (SIGBUS).

What is detected when:
- at every opening, in milliseconds: a foreign file, meta pages that are torn or of another engine, a list of free pages
  or a table whose first page is not whole, and a file cut off anywhere before its last page in use
- by `audit`, about 80 ms for a megabyte: every broken page, key out of order, wrong count, leaked or doubled page
- by neither: a page that is whole and another than it was, such as one of a later commit; see `Store` for copies
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from lmdb import verify as _verify_module
from numpy.typing import NDArray

lmdb_verify: Any = _verify_module  # untyped
_UNREADABLE = (lmdb_verify.VerifyError, OSError, struct.error, ValueError)
_TREE_PAGES = (lmdb_verify.P_BRANCH, lmdb_verify.P_LEAF)


@dataclass(frozen=True, slots=True)
class Glance:
    """One committed state of a file: its pages, those of them that the next commits use again, and what is wrong."""

    txn_id: int
    page_bytes: int
    pages: int
    free_pages: int
    problem: str = ""


def problem_of_metas(data: Path) -> str:
    """Why the file must not even be opened; empty where both meta pages are whole."""
    try:
        with data.open("rb") as file:
            _metas(_reader(file))
    except _UNREADABLE as error:
        return str(error)
    return ""


def glance(data: Path, txn_id: int) -> Glance | None:
    """The state that transaction `txn_id` committed, which an open read transaction must keep from being overwritten.

    None where two later commits have taken its meta page: begin a newer read transaction, and look again.
    """
    with data.open("rb") as file:
        check = _reader(file)
        try:
            meta = next((meta for meta in _metas(check) if meta.txnid == txn_id), None)
            if meta is None:
                return None
            check.meta, check.next_pgno = meta, meta.last_pg + 1
            free = _free_pages(check)
            problem = _problem_of_tables(check) or _problem_of_length(check, free)
        except _UNREADABLE as error:
            return Glance(txn_id, 0, 0, 0, str(error))
        return Glance(txn_id, check.psize, check.next_pgno, len(free), problem)


def audit(data: Path) -> list[str]:
    """What is wrong with the pages of a file that nobody writes: all of them are read."""
    try:
        return [str(problem) for problem in lmdb_verify.verify(str(data), subdir=False)]
    except _UNREADABLE as error:
        return [str(error)]


def _reader(file: BinaryIO) -> Any:
    return lmdb_verify._Verifier(file, file.seek(0, os.SEEK_END))


def _metas(check: Any) -> tuple[Any, Any]:
    check.detect_engine()
    check.load_metas()
    if check.errors:
        raise ValueError(check.errors[0])
    return check._read_meta(0, 1), check._read_meta(1, check.psize)


def _free_pages(check: Any) -> NDArray[np.uint64]:
    """Numbers of the pages on the list of free pages, whose whole tree is read for it."""
    check.live = bytearray(check.next_pgno)
    check._verify_tree("free pages", check.meta.free, lmdb_verify._cmp_int, None, is_free=True)
    if check.errors:
        raise ValueError(check.errors[0])
    records = [np.frombuffer(record, np.uint64) for _, record in check.free_records]
    if any(record[0] != len(record) - 1 for record in records):
        raise ValueError("the list of free pages is cut off")
    free = np.unique(np.concatenate([np.empty(0, np.uint64), *(record[1:] for record in records)]))
    if len(free) and not 2 <= free[0] <= free[-1] < check.next_pgno:
        raise ValueError("the list of free pages names pages that do not exist")
    return free


def _problem_of_tables(check: Any) -> str:
    """Of the table of tables, and of the first page of each table in it."""
    roots: list[int] = []

    def table(
        ctx: Any, _page: int, _node: int, page: bytes, _at: int, _flags: int, _key_bytes: int, *rest: Any
    ) -> None:
        value_bytes, key = rest
        ctx["entries"] += 1
        if value_bytes == lmdb_verify.SIZEOF_MDB_DB:
            roots.append(lmdb_verify._Db(page, _at + 8 + len(key)).root)

    check._leaf_value = table  # else it would go down into every table
    check._verify_tree("tables", check.meta.main, lmdb_verify._cmp_lexical, None, is_free=False)
    if check.errors:
        return str(check.errors[0])
    for root in roots:
        if root != lmdb_verify.P_INVALID and not _is_tree_page(check, root):
            return f"page {root}, the first of a table, is missing or another one"
    return ""


def _is_tree_page(check: Any, number: int) -> bool:
    page = check.read_page(number) if 2 <= number < check.next_pgno else None
    return page is not None and check._pg_pgno(page, 0) == number and check._pg_flags(page, 0) in _TREE_PAGES


def _problem_of_length(check: Any, free: NDArray[np.uint64]) -> str:
    """LMDB leaves pages past the end unwritten where nothing uses them; every other page must be there."""
    there = check.filesize // check.psize
    missing = max(check.next_pgno - there, 0) - int((free >= there).sum())
    return f"{missing} pages in use are cut off" if missing > 0 else ""
