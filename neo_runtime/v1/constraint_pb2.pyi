from neo_runtime.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConstraintSpec(_message.Message):
    __slots__ = ("item_types", "allow_items", "deny_items", "exclude_history", "filter", "named_filters")
    ITEM_TYPES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_ITEMS_FIELD_NUMBER: _ClassVar[int]
    DENY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_HISTORY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NAMED_FILTERS_FIELD_NUMBER: _ClassVar[int]
    item_types: _containers.RepeatedScalarFieldContainer[str]
    allow_items: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.ItemRef]
    deny_items: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.ItemRef]
    exclude_history: bool
    filter: Filter
    named_filters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_types: _Optional[_Iterable[str]] = ..., allow_items: _Optional[_Iterable[_Union[_catalog_pb2.ItemRef, _Mapping]]] = ..., deny_items: _Optional[_Iterable[_Union[_catalog_pb2.ItemRef, _Mapping]]] = ..., exclude_history: _Optional[bool] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., named_filters: _Optional[_Iterable[str]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("must", "should", "must_not")
    MUST_FIELD_NUMBER: _ClassVar[int]
    SHOULD_FIELD_NUMBER: _ClassVar[int]
    MUST_NOT_FIELD_NUMBER: _ClassVar[int]
    must: _containers.RepeatedCompositeFieldContainer[Condition]
    should: _containers.RepeatedCompositeFieldContainer[Condition]
    must_not: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, must: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., should: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., must_not: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("attribute", "equals", "one_of", "range", "exists", "nested")
    class Range(_message.Message):
        __slots__ = ("greater_or_equal", "less")
        GREATER_OR_EQUAL_FIELD_NUMBER: _ClassVar[int]
        LESS_FIELD_NUMBER: _ClassVar[int]
        greater_or_equal: _catalog_pb2.AttributeValue
        less: _catalog_pb2.AttributeValue
        def __init__(self, greater_or_equal: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ..., less: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    class OneOf(_message.Message):
        __slots__ = ("values",)
        VALUES_FIELD_NUMBER: _ClassVar[int]
        values: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.AttributeValue]
        def __init__(self, values: _Optional[_Iterable[_Union[_catalog_pb2.AttributeValue, _Mapping]]] = ...) -> None: ...
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    EQUALS_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    NESTED_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    equals: _catalog_pb2.AttributeValue
    one_of: Condition.OneOf
    range: Condition.Range
    exists: bool
    nested: Filter
    def __init__(self, attribute: _Optional[str] = ..., equals: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ..., one_of: _Optional[_Union[Condition.OneOf, _Mapping]] = ..., range: _Optional[_Union[Condition.Range, _Mapping]] = ..., exists: _Optional[bool] = ..., nested: _Optional[_Union[Filter, _Mapping]] = ...) -> None: ...
