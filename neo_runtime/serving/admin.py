"""CatalogAdminService: what the catalog holds, its snapshots, and which of them is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from neo_runtime.errors import FieldViolation, InvalidRequestError, NotFoundError
from neo_runtime.serving.answers import attribute_value
from neo_runtime.sid.codebook import Codebook
from neo_runtime.snapshot.aliases import EVENTS, LIVE, AliasState
from neo_runtime.snapshot.served import ServedCatalog, Source
from neo_runtime.snapshot.snapshots import Move, Snapshot, Snapshots
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_admin_service_pb2 as pb
from neo_runtime.v1 import catalog_admin_service_pb2_grpc as rpc
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1.generation_service_pb2 import CatalogState

Context = grpc.aio.ServicerContext[Any, Any]
PAGE, MAX_PAGE = 50, 1_000


class CatalogAdminService(rpc.CatalogAdminServiceServicer):
    """Answers from short read transactions; one writer elsewhere goes on undisturbed."""

    def __init__(self, served: ServedCatalog, codebooks: dict[str, Codebook], snapshots: Snapshots) -> None:
        self._served, self._codebooks, self._snapshots = served, codebooks, snapshots

    async def GetCatalog(self, request: pb.GetCatalogRequest, context: Context) -> pb.GetCatalogResponse:  # noqa: N802
        with self._served.hold() as source:
            return pb.GetCatalogResponse(catalog=describe(source, self._codebooks))

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:  # noqa: N802
        with self._served.hold() as source:
            return self._item(request, source)

    def _item(self, request: pb.GetItemRequest, source: Source) -> pb.GetItemResponse:
        key = ItemKey(request.item.item_type, request.item.item_id)
        record = source.reader.item(key)
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
            catalog=CatalogState(snapshot=source.name, generation=source.reader.state().generation),
        )
        response.event_time.FromMicroseconds(record.event_time_us)
        return response

    async def ListSnapshots(  # noqa: N802
        self, request: pb.ListSnapshotsRequest, context: Context
    ) -> pb.ListSnapshotsResponse:
        (found, _), state = await asyncio.to_thread(lambda: (self._snapshots.all(), self._snapshots.aliases.read()))
        names = [snapshot.manifest.name for snapshot in found]
        size = min(request.page_size or PAGE, MAX_PAGE)
        if size < 1 or (request.page_token and request.page_token not in names):
            violation = FieldViolation("page_token" if size > 0 else "page_size", "is not one that was given out")
            raise InvalidRequestError([violation])
        start = names.index(request.page_token) if request.page_token else 0
        return pb.ListSnapshotsResponse(
            snapshots=[snapshot_message(snapshot) for snapshot in found[start : start + size]],
            next_page_token=names[start + size] if start + size < len(names) else "",
            aliases=aliases_message(state),
        )

    async def GetSnapshot(  # noqa: N802
        self, request: pb.GetSnapshotRequest, context: Context
    ) -> pb.GetSnapshotResponse:
        return pb.GetSnapshotResponse(snapshot=snapshot_message(await asyncio.to_thread(self._find, request.name)))

    def _find(self, name: str) -> Snapshot:
        target = self._snapshots.resolve(name, self._snapshots.aliases.read())
        if target == EVENTS:
            raise NotFoundError("snapshot", name, field="name")
        return self._snapshots.named(target.snapshot)

    async def PromoteSnapshot(  # noqa: N802
        self, request: pb.PromoteSnapshotRequest, context: Context
    ) -> pb.PromoteSnapshotResponse:
        share = request.share if request.HasField("share") else 1.0

        def decide(state: AliasState) -> Move:
            return self._snapshots.promotion(request.name, state, request.alias or LIVE, share)

        state = await asyncio.to_thread(self._move, decide, request.etag, request.validate_only)
        return pb.PromoteSnapshotResponse(aliases=aliases_message(state))

    async def RollbackCatalog(  # noqa: N802
        self, request: pb.RollbackCatalogRequest, context: Context
    ) -> pb.RollbackCatalogResponse:
        def decide(state: AliasState) -> Move:
            return self._snapshots.rollback(request.name, state)

        state = await asyncio.to_thread(self._move, decide, request.etag, request.validate_only)
        return pb.RollbackCatalogResponse(aliases=aliases_message(state))

    def _move(self, decide: Callable[[AliasState], Move], etag: str, validate_only: bool) -> AliasState:
        """Decided on what was read, and refused where the aliases moved since."""
        state = self._snapshots.aliases.read()
        if etag and not etag.isdecimal():
            raise InvalidRequestError([FieldViolation("etag", "is not one that was given out")])
        move = decide(state)
        self._snapshots.check(move.target, lambda done, total: None)
        if validate_only:
            return state
        return self._snapshots.aliases.move(move.change, expected=int(etag) if etag else state.sequence)


def describe(source: Source, codebooks: dict[str, Codebook]) -> pb.Catalog:
    """The catalog's state as the admin service and `neo status` show it."""
    with source.reader.store.read() as txn:
        state, offsets, lag = txn.state(), txn.offsets(), txn.lag()
    catalog = pb.Catalog(
        name=source.reader.description.name,
        state=CatalogState(snapshot=source.name, generation=state.generation),
        dead_letters=state.dead_letters,
        stale_events=state.counters.get("stale", 0) + state.counters.get("unknown_deletes", 0),
    )
    catalog.position.generation = state.generation
    for (topic, partition), offset in sorted(offsets.items()):
        catalog.position.partitions.add(topic=topic, partition=partition, next_offset=offset)
    for part in lag if source.target == EVENTS else ():
        next_offset = max(part.next_offset, offsets.get((part.topic, part.partition), 0))
        catalog.lag.add(
            topic=part.topic, partition=part.partition, next_offset=next_offset,
            end_offset=max(part.end_offset, next_offset),
        )  # fmt: skip
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


def snapshot_message(snapshot: Snapshot) -> pb.Snapshot:
    manifest = snapshot.manifest
    message = pb.Snapshot(
        name=manifest.resource,
        size_bytes=manifest.size_bytes,
        digest=snapshot.digest,
        format_version=manifest.format_version,
        schema_version=manifest.schema_version,
        labels=manifest.labels,
    )
    message.create_time.FromDatetime(manifest.created_at)
    message.position.generation = manifest.generation
    for offset in manifest.offsets:
        message.position.partitions.add(topic=offset.topic, partition=offset.partition, next_offset=offset.next)
    for name, fingerprint in manifest.codebooks.items():
        counts = manifest.counts.get(name)
        message.type_stats.add(
            item_type=name,
            items=counts.items if counts else 0,
            semantic_ids=counts.semantic_ids if counts else 0,
            colliding_items=counts.colliding_items if counts else 0,
            codebook=fingerprint,
        )
    return message


def aliases_message(state: AliasState) -> pb.Aliases:
    message = pb.Aliases(sequence=state.sequence, actor=state.actor, etag=str(state.sequence))
    for name, alias in sorted({LIVE: state.live, **state.aliases}.items()):
        message.aliases.add(alias=name, snapshot=alias.target.snapshot, share=alias.share, rest=alias.rest.snapshot)
    if state.time:
        message.move_time.FromJsonString(state.time)
    return message
