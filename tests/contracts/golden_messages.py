"""One message of every kind that clients and catalog teams exchange with us; together they set every field."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from neo_runtime.v1 import catalog_admin_service_pb2 as admin
from neo_runtime.v1 import catalog_events_pb2 as events
from neo_runtime.v1 import catalog_pb2 as catalog
from neo_runtime.v1 import constraint_pb2 as constraint
from neo_runtime.v1 import generation_service_pb2 as pb

TIME = Timestamp(seconds=1_748_736_000, nanos=123_456_000)
FILM = catalog.ItemRef(item_type="film", item_id="f/1 ö")
BOOK = catalog.ItemRef(item_type="book", item_id="b1")
SID = catalog.SemanticId(item_type="film", codes=[3, 0, 1_023], codebook="0123456789abcdef")
STATE = pb.CatalogState(snapshot="catalogs/default/live-0a1b2c3d", generation=1 << 40)
ATTRIBUTES = {
    "text": catalog.AttributeValue(string_value="Té"),
    "whole": catalog.AttributeValue(int_value=-(1 << 62)),
    "real": catalog.AttributeValue(double_value=8.25),
    "yes": catalog.AttributeValue(bool_value=True),
    "time": catalog.AttributeValue(time_value=TIME),
    "list": catalog.AttributeValue(string_list=catalog.AttributeValue.StringList(values=["a", "b"])),
}
UPSERTED = events.ItemUpserted(
    title="Títle", description="Two\nlines", attributes=ATTRIBUTES, popularity=0.5,
    embedding=events.Embedding(float32_le=b"\x00\x00\x80\x3f\x00\x00\x00\xbf", model="test-vectors"),
)  # fmt: skip

_CONDITION = constraint.Condition
FILTER = constraint.Filter(
    must=[
        _CONDITION(attribute="genres", equals=ATTRIBUTES["text"]),
        _CONDITION(
            attribute="year", range=_CONDITION.Range(greater_or_equal=ATTRIBUTES["whole"], less=ATTRIBUTES["real"])
        ),
    ],
    should=[
        _CONDITION(attribute="brand", one_of=_CONDITION.OneOf(values=[ATTRIBUTES["text"], ATTRIBUTES["yes"]])),
        _CONDITION(attribute="old", exists=False),
    ],
    must_not=[_CONDITION(nested=constraint.Filter(must=[_CONDITION(attribute="seen", equals=ATTRIBUTES["yes"])]))],
)

CONVERSATION = pb.Conversation(
    messages=[
        pb.Message(role=pb.Message.ROLE_SYSTEM, contents=[pb.Content(text="Be brief.")]),
        pb.Message(role=pb.Message.ROLE_ASSISTANT, contents=[pb.Content(text="Hello")]),
        pb.Message(role=pb.Message.ROLE_USER, contents=[pb.Content(text="like "), pb.Content(item=FILM)]),
    ]
)
TASK = pb.TaskPrompt(task=pb.TaskPrompt.TASK_RETRIEVE, item_type="film", subject=[pb.Content(text="war")])
# The fields of a request around its prompt.
AROUND: dict[str, Any] = {
    "model": "neo-demo",
    "user": pb.UserContext(history=[pb.UserContext.Interaction(item=BOOK, time=TIME)], features={"region": "at"}),
    "constraints": constraint.ConstraintSpec(
        item_types=["film", "book"],
        allow_items=[FILM],
        deny_items=[BOOK],
        exclude_history=False,
        filter=FILTER,
        named_filters=["kids", "new"],
    ),
    "options": pb.ResponseOptions(
        alternatives=3,
        include_sids=True,
        attributes=["year"],
        format=pb.ResponseOptions.FORMAT_ITEMS_ONLY,
        new_item_bonus=0.5,
    ),
}
DECODING = pb.DecodingParams(
    max_output_tokens=64, max_items=0, temperature=0.5, top_p=0.75, top_k=40, seed=1 << 63, stop_sequences=["\n"],
    beam_width=1,
)  # fmt: skip

RANKED = pb.RankedItem(items=[pb.ResolvedItem(item=FILM, title="Títle", attributes=ATTRIBUTES)], sid=SID, logprob=-1.25)
USAGE = pb.Usage(
    prompt_tokens=300, text_tokens=20, sid_tokens=10, queue_time=Duration(nanos=1_000),
    prefill_time=Duration(seconds=1), decode_time=Duration(seconds=2, nanos=500_000_000), cached_prompt_tokens=200,
)  # fmt: skip
SNAPSHOT = admin.Snapshot(
    name="catalogs/default/snapshots/a", create_time=TIME, size_bytes=1 << 33, digest="5f" * 32, format_version=1,
    schema_version=1, labels={"why": "sale"},
    position=catalog.CatalogPosition(
        generation=8, partitions=[catalog.CatalogPosition.Partition(topic="items", partition=3, next_offset=1 << 40)]
    ),
    type_stats=[
        admin.Snapshot.TypeStats(
            item_type="film", items=1_000, semantic_ids=900, colliding_items=200, codebook="0123456789abcdef"
        )
    ],
)  # fmt: skip
ALIASES = admin.Aliases(
    aliases=[admin.Alias(alias="live", snapshot="a", share=0.25, rest="b")], sequence=7, move_time=TIME,
    actor="root@host", etag="7",
)  # fmt: skip


def response(sequence: int, **event: Message) -> pb.GenerateResponse:
    return pb.GenerateResponse(sequence=sequence, **event)  # type: ignore[arg-type]


MESSAGES: dict[str, Message] = {
    "ItemEvent upserted": events.ItemEvent(item=FILM, event_time=TIME, upserted=UPSERTED),
    "ItemEvent deleted": events.ItemEvent(
        item=FILM, event_time=TIME, deleted=events.ItemDeleted(reason="sold out")
    ),
    "ItemAvailabilityChanged": events.ItemAvailabilityChanged(
        item=FILM, event_time=TIME,
        windows=[
            events.ItemAvailabilityChanged.Window(start_time=TIME, end_time=TIME, regions=["at", "de"]),
            events.ItemAvailabilityChanged.Window(),
        ],
    ),
    "SidAssigned": events.SidAssigned(
        item=FILM, sid=SID, event_time=TIME, quantization_error=0.125, generation=8, deleted=True, title="Títle",
        description="Two\nlines", attributes=ATTRIBUTES, popularity=0.5, nearest_codes=[3, 0, 1_022],
        content_hash=b"0123456789abcdef", source=events.SidAssigned.Source(topic="items", partition=3, offset=40),
    ),
    "GenerateRequest conversation": pb.GenerateRequest(conversation=CONVERSATION, decoding=DECODING, **AROUND),
    "GenerateRequest task": pb.GenerateRequest(task=TASK, decoding=DECODING, **AROUND),
    "GenerateResponse start": response(
        1, start=pb.StreamStart(response_id="5f", model="neo-demo", catalog=STATE, unknown_history_items=2)
    ),
    "GenerateResponse text_delta": response(2, text_delta=pb.TextDelta(text="Watch ")),
    "GenerateResponse item_span": response(
        3, item_span=pb.ItemSpan(index=1, item=RANKED, alternatives=[RANKED], catalog=STATE)
    ),
    "GenerateResponse usage": response(4, usage=USAGE),
    "GenerateResponse finish": response(
        1 << 40, finish=pb.Finish(reason=pb.Finish.REASON_STOP_SEQUENCE, stop_sequence="\n")
    ),
    "RankItemsRequest conversation": pb.RankItemsRequest(conversation=CONVERSATION, max_results=20, **AROUND),
    "RankItemsRequest task": pb.RankItemsRequest(task=TASK, max_results=20, **AROUND),
    "RankItemsResponse": pb.RankItemsResponse(
        response_id="5f", model="neo-demo", catalog=STATE, results=[RANKED], unknown_history_items=2, usage=USAGE
    ),
    "WarmRequest conversation": pb.WarmRequest(conversation=CONVERSATION, model="neo-demo", user=AROUND["user"]),
    "WarmRequest task": pb.WarmRequest(task=TASK, model="neo-demo", user=AROUND["user"]),
    "WarmResponse": pb.WarmResponse(
        catalog=STATE, prompt_tokens=300, cached_prompt_tokens=200, unknown_history_items=2
    ),
    "GetServingInfoRequest": pb.GetServingInfoRequest(),
    "GetServingInfoResponse": pb.GetServingInfoResponse(
        runtime_version="0.1.0", instance_id="i1", models=["neo-demo"], catalog=STATE, running_requests=1,
        queued_requests=2, max_beam_width=512, max_context_tokens=1_024, draining=True, alias_sequence=7,
        swap_failure="damaged",
        item_types=[
            pb.GetServingInfoResponse.ItemTypeInfo(
                item_type="film", codebook="0123456789abcdef", level_sizes=[64, 64, 64], items=1_000
            )
        ],
    ),
    "GetCatalogRequest": admin.GetCatalogRequest(),
    "GetCatalogResponse": admin.GetCatalogResponse(
        catalog=admin.Catalog(
            name="default", state=STATE, dead_letters=4, stale_events=5, last_commit_time=TIME,
            position=catalog.CatalogPosition(
                generation=8,
                partitions=[catalog.CatalogPosition.Partition(topic="items", partition=3, next_offset=1 << 40)],
            ),
            type_stats=[
                admin.Catalog.TypeStats(
                    item_type="film", items=1_000, semantic_ids=900, colliding_items=200, codebook="0123456789abcdef"
                )
            ],
            lag=[admin.Catalog.PartitionLag(topic="items", partition=3, next_offset=7, end_offset=1 << 40)],
        )
    ),
    "GetItemRequest": admin.GetItemRequest(item=FILM),
    "GetItemResponse": admin.GetItemResponse(
        item=FILM, title="Títle", description="Two\nlines", attributes=ATTRIBUTES, popularity=0.5, event_time=TIME,
        sid=SID, catalog=STATE,
    ),
    "ListSnapshotsRequest": admin.ListSnapshotsRequest(page_size=10, page_token="a"),
    "ListSnapshotsResponse": admin.ListSnapshotsResponse(snapshots=[SNAPSHOT], next_page_token="b", aliases=ALIASES),
    "GetSnapshotRequest": admin.GetSnapshotRequest(name="a"),
    "GetSnapshotResponse": admin.GetSnapshotResponse(snapshot=SNAPSHOT),
    "PromoteSnapshotRequest": admin.PromoteSnapshotRequest(
        name="a", alias="live", share=0.25, etag="7", validate_only=True
    ),
    "PromoteSnapshotResponse": admin.PromoteSnapshotResponse(aliases=ALIASES),
    "RollbackCatalogRequest": admin.RollbackCatalogRequest(name="a", etag="7", validate_only=True),
    "RollbackCatalogResponse": admin.RollbackCatalogResponse(aliases=ALIASES),
}  # fmt: skip
