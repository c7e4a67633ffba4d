"""Who decides on the items of a catalog: this one, from the events, or another one whose changelog it follows.

What an assigner has committed but not published is its own opinion only. Where another assigner went on meanwhile,
what the changelog says counts, and the opinion is retracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from neo_runtime.catalog.batch import Batch
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import ItemRecord
from neo_runtime.catalog.records import Assignment
from neo_runtime.catalog.tables import Transaction
from neo_runtime.types import ItemKey

ANNOUNCED = 1_000  # in one transaction


def assigns(catalog: Catalog) -> bool:
    """Whether nobody else has assigned since this catalog did, as far as it has read the changelog."""
    return catalog.reader.state().assigns


def start_assigning(catalog: Catalog, topic: str, positions: Mapping[tuple[str, int], int]) -> None:
    """Decide from here on, with the events of `topic` from `positions` on; from its start where there are none."""

    def body(txn: Transaction) -> None:
        state = txn.state()
        assert not txn.entries("outbox"), "what is unpublished must be retracted first"
        for name, partition in txn.offsets():
            if name == topic:
                txn.remove_offset(name, partition)
        for (name, partition), offset in positions.items():
            txn.put_offset(name, partition, offset)
        state.assigns = True
        txn.put_state(state)

    catalog.store.transact(body)


def announce(catalog: Catalog) -> None:
    """Let the next items wait for Kafka that never did: those of a catalog that was filled from files."""
    if catalog.reader.state().unannounced is None:
        return

    def body(txn: Transaction) -> None:
        state = txn.state()
        rows = list(islice(_items_behind(txn, sorted(catalog.codebooks), state.unannounced or ""), ANNOUNCED))
        for key, record in rows:
            txn.put_outgoing(state.outgoing, Assignment(key.type, key.id, record, state.generation))
            state.outgoing += 1
        state.unannounced = str(rows[-1][0]) if len(rows) == ANNOUNCED else None
        txn.put_state(state)

    catalog.store.transact(body)


def _items_behind(txn: Transaction, types: list[str], last: str) -> Iterator[tuple[ItemKey, ItemRecord]]:
    last_type, _, last_id = last.partition("/")
    for item_type in types:
        if item_type >= last_type:
            for item_id, record in txn.items(item_type, last_id if item_type == last_type else ""):
                yield ItemKey(item_type, item_id), record


def unpublished(catalog: Catalog) -> set[ItemKey]:
    """Items whose newest state nobody else knows; bounded by what an outbox may hold."""
    with catalog.store.read() as txn:
        waiting = txn.outbox(txn.entries("outbox")) if txn.entries("outbox") else []
    return {outgoing.key for _, outgoing in waiting if isinstance(outgoing, Assignment)}


def retract(catalog: Catalog, published: Mapping[ItemKey, ItemRecord | None]) -> None:
    """Forget what was not published, and put its items back to what was. Another assigner refuses the refused again."""

    def body(txn: Transaction) -> None:
        batch = Batch(txn, catalog.codebooks, catalog.policy, {}, publish=False)
        for key, record in published.items():
            batch.put_back(key, record)
        batch.finish()
        txn.clear_outbox()
        state = txn.state()
        state.assigns = False
        txn.put_state(state)

    catalog.store.transact(body)
