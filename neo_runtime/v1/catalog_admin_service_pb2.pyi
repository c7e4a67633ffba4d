import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from neo_runtime.v1 import catalog_pb2 as _catalog_pb2
from neo_runtime.v1 import generation_service_pb2 as _generation_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCatalogRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCatalogResponse(_message.Message):
    __slots__ = ("catalog",)
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    catalog: Catalog
    def __init__(self, catalog: _Optional[_Union[Catalog, _Mapping]] = ...) -> None: ...

class Catalog(_message.Message):
    __slots__ = ("name", "state", "position", "type_stats", "dead_letters", "stale_events", "last_commit_time", "lag")
    class TypeStats(_message.Message):
        __slots__ = ("item_type", "items", "semantic_ids", "colliding_items", "codebook")
        ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
        ITEMS_FIELD_NUMBER: _ClassVar[int]
        SEMANTIC_IDS_FIELD_NUMBER: _ClassVar[int]
        COLLIDING_ITEMS_FIELD_NUMBER: _ClassVar[int]
        CODEBOOK_FIELD_NUMBER: _ClassVar[int]
        item_type: str
        items: int
        semantic_ids: int
        colliding_items: int
        codebook: str
        def __init__(self, item_type: _Optional[str] = ..., items: _Optional[int] = ..., semantic_ids: _Optional[int] = ..., colliding_items: _Optional[int] = ..., codebook: _Optional[str] = ...) -> None: ...
    class PartitionLag(_message.Message):
        __slots__ = ("topic", "partition", "next_offset", "end_offset")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
        END_OFFSET_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        next_offset: int
        end_offset: int
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., next_offset: _Optional[int] = ..., end_offset: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TYPE_STATS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    STALE_EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: _generation_service_pb2.CatalogState
    position: _catalog_pb2.CatalogPosition
    type_stats: _containers.RepeatedCompositeFieldContainer[Catalog.TypeStats]
    dead_letters: int
    stale_events: int
    last_commit_time: _timestamp_pb2.Timestamp
    lag: _containers.RepeatedCompositeFieldContainer[Catalog.PartitionLag]
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[_generation_service_pb2.CatalogState, _Mapping]] = ..., position: _Optional[_Union[_catalog_pb2.CatalogPosition, _Mapping]] = ..., type_stats: _Optional[_Iterable[_Union[Catalog.TypeStats, _Mapping]]] = ..., dead_letters: _Optional[int] = ..., stale_events: _Optional[int] = ..., last_commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lag: _Optional[_Iterable[_Union[Catalog.PartitionLag, _Mapping]]] = ...) -> None: ...

class GetItemRequest(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ...) -> None: ...

class GetItemResponse(_message.Message):
    __slots__ = ("item", "title", "description", "attributes", "popularity", "event_time", "sid", "catalog")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _catalog_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    SID_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    title: str
    description: str
    attributes: _containers.MessageMap[str, _catalog_pb2.AttributeValue]
    popularity: float
    event_time: _timestamp_pb2.Timestamp
    sid: _catalog_pb2.SemanticId
    catalog: _generation_service_pb2.CatalogState
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., attributes: _Optional[_Mapping[str, _catalog_pb2.AttributeValue]] = ..., popularity: _Optional[float] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sid: _Optional[_Union[_catalog_pb2.SemanticId, _Mapping]] = ..., catalog: _Optional[_Union[_generation_service_pb2.CatalogState, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("name", "create_time", "position", "type_stats", "size_bytes", "digest", "format_version", "schema_version", "labels")
    class TypeStats(_message.Message):
        __slots__ = ("item_type", "items", "semantic_ids", "colliding_items", "codebook")
        ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
        ITEMS_FIELD_NUMBER: _ClassVar[int]
        SEMANTIC_IDS_FIELD_NUMBER: _ClassVar[int]
        COLLIDING_ITEMS_FIELD_NUMBER: _ClassVar[int]
        CODEBOOK_FIELD_NUMBER: _ClassVar[int]
        item_type: str
        items: int
        semantic_ids: int
        colliding_items: int
        codebook: str
        def __init__(self, item_type: _Optional[str] = ..., items: _Optional[int] = ..., semantic_ids: _Optional[int] = ..., colliding_items: _Optional[int] = ..., codebook: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TYPE_STATS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    create_time: _timestamp_pb2.Timestamp
    position: _catalog_pb2.CatalogPosition
    type_stats: _containers.RepeatedCompositeFieldContainer[Snapshot.TypeStats]
    size_bytes: int
    digest: str
    format_version: int
    schema_version: int
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[_Union[_catalog_pb2.CatalogPosition, _Mapping]] = ..., type_stats: _Optional[_Iterable[_Union[Snapshot.TypeStats, _Mapping]]] = ..., size_bytes: _Optional[int] = ..., digest: _Optional[str] = ..., format_version: _Optional[int] = ..., schema_version: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("alias", "snapshot", "share", "rest")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    alias: str
    snapshot: str
    share: float
    rest: str
    def __init__(self, alias: _Optional[str] = ..., snapshot: _Optional[str] = ..., share: _Optional[float] = ..., rest: _Optional[str] = ...) -> None: ...

class Aliases(_message.Message):
    __slots__ = ("aliases", "sequence", "move_time", "actor", "etag")
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MOVE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    sequence: int
    move_time: _timestamp_pb2.Timestamp
    actor: str
    etag: str
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ..., sequence: _Optional[int] = ..., move_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots", "next_page_token", "aliases")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    next_page_token: str
    aliases: Aliases
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., aliases: _Optional[_Union[Aliases, _Mapping]] = ...) -> None: ...

class GetSnapshotRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class PromoteSnapshotRequest(_message.Message):
    __slots__ = ("name", "alias", "share", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    alias: str
    share: float
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., alias: _Optional[str] = ..., share: _Optional[float] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class PromoteSnapshotResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: Aliases
    def __init__(self, aliases: _Optional[_Union[Aliases, _Mapping]] = ...) -> None: ...

class RollbackCatalogRequest(_message.Message):
    __slots__ = ("name", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RollbackCatalogResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: Aliases
    def __init__(self, aliases: _Optional[_Union[Aliases, _Mapping]] = ...) -> None: ...
