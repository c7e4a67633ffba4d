"""CatalogAdminService: what the catalog holds. Reads only."""

from __future__ import annotations

from typing import Any

import grpc

from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.errors import NotFoundError
from neo_runtime.serving.answers import attribute_value
from neo_runtime.sid.codebook import Codebook
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_admin_service_pb2 as pb
from neo_runtime.v1 import catalog_admin_service_pb2_grpc as rpc
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1.generation_service_pb2 import CatalogState

Context = grpc.aio.ServicerContext[Any, Any]


class CatalogAdminService(rpc.CatalogAdminServiceServicer):
    """Answers from short read transactions; one writer elsewhere goes on undisturbed."""

    def __init__(self, reader: CatalogReader, codebooks: dict[str, Codebook]) -> None:
        self._reader, self._codebooks = reader, codebooks

    async def GetCatalog(self, request: pb.GetCatalogRequest, context: Context) -> pb.GetCatalogResponse:  # noqa: N802
        return pb.GetCatalogResponse(catalog=describe(self._reader, self._codebooks))

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:  # noqa: N802
        key = ItemKey(request.item.item_type, request.item.item_id)
        record = self._reader.item(key)
        if record is None or record.deleted:
            raise NotFoundError("item", str(key), field="item")
        codebook = self._codebooks[key.type]
        response = pb.GetItemResponse(
            item=request.item,
            title=record.title,
            description=record.description,
            attributes={name: attribute_value(value) for name, value in record.attributes.items()},
            popularity=record.popularity,
            sid=catalog_pb2.SemanticId(
                item_type=key.type, codes=codebook.space.unpack_one(record.sid_key), codebook=codebook.fingerprint
            ),
            catalog=CatalogState(snapshot=self._reader.snapshot, generation=self._reader.state().generation),
        )
        response.event_time.FromMicroseconds(record.event_time_us)
        return response


def describe(reader: CatalogReader, codebooks: dict[str, Codebook]) -> pb.Catalog:
    """The catalog's state as the admin service and `neo status` show it."""
    with reader.store.read() as txn:
        state, offsets = txn.state(), txn.offsets()
    catalog = pb.Catalog(
        name=reader.description.name,
        state=CatalogState(snapshot=reader.snapshot, generation=state.generation),
        dead_letters=state.dead_letters,
        stale_events=state.counters.get("stale", 0) + state.counters.get("unknown_deletes", 0),
    )
    catalog.position.generation = state.generation
    for (topic, partition), offset in sorted(offsets.items()):
        catalog.position.partitions.add(topic=topic, partition=partition, next_offset=offset)
    for name, codebook in codebooks.items():
        stats = state.stats.get(name)
        catalog.type_stats.add(
            item_type=name,
            items=stats.items if stats else 0,
            semantic_ids=stats.sids if stats else 0,
            colliding_items=stats.colliding if stats else 0,
            codebook=codebook.fingerprint,
        )
    if state.commit_time_us:
        catalog.last_commit_time.FromMicroseconds(state.commit_time_us)
    return catalog
