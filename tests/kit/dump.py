"""Everything that a catalog holds, as bytes: what "nothing changed" is measured with."""

from __future__ import annotations

from collections.abc import Mapping

from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import TABLES

Rows = list[tuple[bytes, bytes]]


def tables(store: Store) -> dict[str, Rows]:
    """Table to its rows, in the order of their keys."""
    with store.read() as txn:
        return {name: list(txn._scan(name)) for name in TABLES}


def fill(store: Store, dumped: Mapping[str, Rows]) -> None:
    """Rows as they were dumped, past everything that would check or encode them."""
    with store.write() as txn:
        for table, rows in dumped.items():
            for key, value in rows:
                txn._txn.put(key, value, db=txn._tables[table])
