import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from neo_runtime.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ItemEvent(_message.Message):
    __slots__ = ("item", "event_time", "upserted", "deleted")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    event_time: _timestamp_pb2.Timestamp
    upserted: ItemUpserted
    deleted: ItemDeleted
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., upserted: _Optional[_Union[ItemUpserted, _Mapping]] = ..., deleted: _Optional[_Union[ItemDeleted, _Mapping]] = ...) -> None: ...

class ItemUpserted(_message.Message):
    __slots__ = ("title", "description", "attributes", "popularity", "embedding")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _catalog_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    title: str
    description: str
    attributes: _containers.MessageMap[str, _catalog_pb2.AttributeValue]
    popularity: float
    embedding: Embedding
    def __init__(self, title: _Optional[str] = ..., description: _Optional[str] = ..., attributes: _Optional[_Mapping[str, _catalog_pb2.AttributeValue]] = ..., popularity: _Optional[float] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ...) -> None: ...

class ItemDeleted(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("float32_le", "model")
    FLOAT32_LE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    float32_le: bytes
    model: str
    def __init__(self, float32_le: _Optional[bytes] = ..., model: _Optional[str] = ...) -> None: ...

class ItemAvailabilityChanged(_message.Message):
    __slots__ = ("item", "event_time", "windows")
    class Window(_message.Message):
        __slots__ = ("start_time", "end_time", "regions")
        START_TIME_FIELD_NUMBER: _ClassVar[int]
        END_TIME_FIELD_NUMBER: _ClassVar[int]
        REGIONS_FIELD_NUMBER: _ClassVar[int]
        start_time: _timestamp_pb2.Timestamp
        end_time: _timestamp_pb2.Timestamp
        regions: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., regions: _Optional[_Iterable[str]] = ...) -> None: ...
    ITEM_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    event_time: _timestamp_pb2.Timestamp
    windows: _containers.RepeatedCompositeFieldContainer[ItemAvailabilityChanged.Window]
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., windows: _Optional[_Iterable[_Union[ItemAvailabilityChanged.Window, _Mapping]]] = ...) -> None: ...

class SidAssigned(_message.Message):
    __slots__ = ("item", "sid", "event_time", "quantization_error", "generation", "deleted", "title", "description", "attributes", "popularity", "nearest_codes", "content_hash", "source")
    class Source(_message.Message):
        __slots__ = ("topic", "partition", "offset")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        offset: int
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _catalog_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_ERROR_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    NEAREST_CODES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    sid: _catalog_pb2.SemanticId
    event_time: _timestamp_pb2.Timestamp
    quantization_error: float
    generation: int
    deleted: bool
    title: str
    description: str
    attributes: _containers.MessageMap[str, _catalog_pb2.AttributeValue]
    popularity: float
    nearest_codes: _containers.RepeatedScalarFieldContainer[int]
    content_hash: bytes
    source: SidAssigned.Source
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., sid: _Optional[_Union[_catalog_pb2.SemanticId, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., quantization_error: _Optional[float] = ..., generation: _Optional[int] = ..., deleted: _Optional[bool] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., attributes: _Optional[_Mapping[str, _catalog_pb2.AttributeValue]] = ..., popularity: _Optional[float] = ..., nearest_codes: _Optional[_Iterable[int]] = ..., content_hash: _Optional[bytes] = ..., source: _Optional[_Union[SidAssigned.Source, _Mapping]] = ...) -> None: ...
