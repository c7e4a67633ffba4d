"""A catalog folder as an operator looks at it: what takes how much, and whether all of it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.datafile import audit
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.records import TypeStats
from neo_runtime.catalog.store import Store, accept_copy, no_writer
from neo_runtime.catalog.tables import TABLES, Transaction
from neo_runtime.catalog.usage import Usage
from neo_runtime.errors import CatalogError


class TableSize(NamedTuple):
    """`bytes` of its pages, what is free in them included."""

    table: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CatalogInfo:
    """Of one committed state. `segments`: bytes of each file, those included that are about to be removed."""

    schema_version: int
    generation: int
    tables: list[TableSize]
    segments: dict[str, int]
    usage: Usage


def inspect(path: Path) -> CatalogInfo:
    """Also of a catalog of another schema. CatalogError where it is missing or damaged."""
    with closing(Store(path, writable=False)) as store:
        with store.read() as txn:
            tables = table_sizes(txn)
            version, generation = txn.description().schema_version, txn.state().generation
        files = sorted((path / "segments").glob("*"))
        return CatalogInfo(version, generation, tables, {f.name: f.stat().st_size for f in files}, store.usage())


def table_sizes(txn: Transaction) -> list[TableSize]:
    return [TableSize(name, txn.entries(name), txn.size(name)) for name in TABLES if txn.has(name)]


def verify(path: Path, *, accept: bool = False, progress: Callable[[int], None] = lambda rows: None) -> list[str]:
    """What is wrong: every page, segment and record is read. CatalogError where a writer is at work.

    `accept`: a file whose pages are whole is taken although it was copied while its writer was at work.
    """
    if not (path / "data.mdb").exists():
        raise CatalogError(f"no catalog in {path}; `neo catalog load` makes one")
    with no_writer(path):
        problems = audit(path / "data.mdb")
        if problems:
            return problems
        if accept:
            accept_copy(path)
        try:
            reader, _ = open_reader(path)
        except CatalogError as error:
            return [str(error)]
        with closing(reader.store):
            return list(_problems_of_content(reader, progress))


def _problems_of_content(reader: CatalogReader, progress: Callable[[int], None]) -> Iterator[str]:
    view = reader.view()
    with reader.store.read() as txn:
        stats = txn.state().stats
        for name, trie in view.types.items():
            said, found = stats.get(name, TypeStats()), _counted(txn, name, progress)
            if found != said:
                yield f"{name}: the tables hold {found}, the catalog's state says {said}"
            if len(trie) != found.sids:
                yield f"{name}: {len(trie)} semantic IDs in the trie, {found.sids} in the tables"


def _counted(txn: Transaction, item_type: str, progress: Callable[[int], None]) -> TypeStats:
    found = TypeStats()
    for rows, (_, record) in enumerate(txn.items(item_type), start=1):
        found.items += not record.deleted
        progress(rows)
    for _, bearers in txn.sids(item_type):
        found.sids += 1
        found.colliding += len(bearers) * (len(bearers) > 1)
    return found
