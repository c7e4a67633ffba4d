"""From the schema of an older runtime to this one's: ordered steps, run by the writer in one transaction.

A step that is cut short leaves the catalog as it was. Readers migrate nothing: they say that a writer has to.
Serving workers of the older runtime do not understand what is written from then on: stop them before, or let them serve
a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from neo_runtime.catalog.records import SCHEMA_VERSION, Assignment
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import Transaction
from neo_runtime.errors import CatalogError
from neo_runtime.types import ItemKey

_log = structlog.get_logger(__name__)

Step = Callable[[Transaction], None]


def migrate(store: Store) -> None:
    """Bring a writer's catalog to this runtime's schema. One that was never made whole is left alone."""
    with store.read() as txn:
        before = txn.description().schema_version if txn.is_described() else SCHEMA_VERSION
    if before >= SCHEMA_VERSION:
        return

    def body(txn: Transaction) -> None:
        for version in range(before, SCHEMA_VERSION):
            STEPS[version](txn)
        txn.put_description(msgspec.structs.replace(txn.description(), schema_version=SCHEMA_VERSION))

    store.transact(body)
    _log.info("catalog migrated", catalog=str(store.path), schema_before=before, schema=SCHEMA_VERSION)


def refuse_other_schema(path: Path, version: int) -> None:
    """CatalogError where a reader does not understand the catalog, with who does."""
    if version > SCHEMA_VERSION:
        raise CatalogError(
            f"catalog {path} has schema {version}, this runtime knows {SCHEMA_VERSION}; use the runtime that wrote it"
        )
    if version < SCHEMA_VERSION:
        raise CatalogError(
            f"catalog {path} has schema {version}, this runtime reads {SCHEMA_VERSION}; "
            "start its catalog worker with this runtime once, which migrates it (a snapshot: restore it first)"
        )


def _log_with_facts(txn: Transaction) -> None:
    """1 to 2: the log carries rows with facts, and base segments have columns. Both are rebuilt from the tables.

    What waits for Kafka carries whole records; those of an item that is waiting become its newest one.
    """
    txn.remove_base()
    txn.trim_log(txn.state().generation)
    waiting: dict[ItemKey, int] = {}
    for number, value in list(txn._scan("outbox")):
        kind, *fields = msgspec.msgpack.decode(value)
        if kind == "Assignment":
            waiting[ItemKey(fields[0], fields[1])] = int.from_bytes(number)
            txn.remove_outgoing([int.from_bytes(number)])
    for key, newest in waiting.items():
        txn.put_outgoing(newest, Assignment(key.type, key.id, txn.item(key), txn.state().generation))


STEPS: Mapping[int, Step] = {1: _log_with_facts}
"""Schema to the step that leads to the next one. Tables that are new are there already, and empty."""
