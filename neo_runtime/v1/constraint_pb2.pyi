from neo_runtime.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConstraintSpec(_message.Message):
    __slots__ = ("item_types", "allow_items", "deny_items", "exclude_history")
    ITEM_TYPES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_ITEMS_FIELD_NUMBER: _ClassVar[int]
    DENY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_HISTORY_FIELD_NUMBER: _ClassVar[int]
    item_types: _containers.RepeatedScalarFieldContainer[str]
    allow_items: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.ItemRef]
    deny_items: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.ItemRef]
    exclude_history: bool
    def __init__(self, item_types: _Optional[_Iterable[str]] = ..., allow_items: _Optional[_Iterable[_Union[_catalog_pb2.ItemRef, _Mapping]]] = ..., deny_items: _Optional[_Iterable[_Union[_catalog_pb2.ItemRef, _Mapping]]] = ..., exclude_history: _Optional[bool] = ...) -> None: ...
