"""Base segments from the tables: what the trie is derived from, where a migration took base and log away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import structlog

from neo_runtime.catalog.records import Base
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Bearers, Transaction
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import PackedRows, Row, Segment
from neo_runtime.types import ItemKey

_log = structlog.get_logger(__name__)


def rebuild_missing_base(store: Store, spaces: Mapping[str, SidSpace]) -> None:
    """Where neither base nor log tell how the newest generation came about. The caller is the one writer."""
    with store.read() as txn:
        generation = txn.state().generation
        if not generation or txn.base() is not None or txn.entries("log"):
            return
        is_canonical = CollisionPolicy(txn.description().policy) is CollisionPolicy.CANONICAL
        segments = {name: _segment(txn, name, space, is_canonical) for name, space in spaces.items()}
    folder = store.path / "segments"
    files = {name: f"{name}-{generation}.seg" for name in segments}
    sums = {name: segment.save(folder / files[name]) for name, segment in segments.items()}
    store.transact(lambda txn: txn.put_base(Base(generation, files, sums)))
    _log.info("base rebuilt", generation=generation, sids={name: len(segment) for name, segment in segments.items()})


def _segment(txn: Transaction, item_type: str, space: SidSpace, is_canonical: bool) -> Segment:
    keys, starts, rows = [], [0], list[Row]()
    for sid, bearers in txn.sids(item_type):
        keys.append(sid)
        rows += _leaf(txn, item_type, bearers[:1] if is_canonical else bearers)
        starts.append(len(rows))
    leaf_rows = None if len(rows) == len(keys) else np.array(starts, np.int32)
    return Segment.build(space, np.array(keys, np.uint64), leaf_rows, PackedRows.of(rows))


def _leaf(txn: Transaction, item_type: str, bearers: Bearers) -> list[Row]:
    return [_row(txn, ItemKey(item_type, item_id)) for _, item_id in bearers]


def _row(txn: Transaction, key: ItemKey) -> Row:
    record, said = txn.item(key), txn.availability(key)
    assert record is not None
    return Row(key.id, record.attributes, said.windows if said else None)
