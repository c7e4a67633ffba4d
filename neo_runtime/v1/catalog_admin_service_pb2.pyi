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
    __slots__ = ("name", "state", "position", "type_stats", "dead_letters", "stale_events", "last_commit_time")
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
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TYPE_STATS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    STALE_EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: _generation_service_pb2.CatalogState
    position: _catalog_pb2.CatalogPosition
    type_stats: _containers.RepeatedCompositeFieldContainer[Catalog.TypeStats]
    dead_letters: int
    stale_events: int
    last_commit_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[_generation_service_pb2.CatalogState, _Mapping]] = ..., position: _Optional[_Union[_catalog_pb2.CatalogPosition, _Mapping]] = ..., type_stats: _Optional[_Iterable[_Union[Catalog.TypeStats, _Mapping]]] = ..., dead_letters: _Optional[int] = ..., stale_events: _Optional[int] = ..., last_commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

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
