import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from neo_runtime.v1 import catalog_pb2 as _catalog_pb2
from neo_runtime.v1 import constraint_pb2 as _constraint_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Content(_message.Message):
    __slots__ = ("text", "item")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    text: str
    item: _catalog_pb2.ItemRef
    def __init__(self, text: _Optional[str] = ..., item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "contents")
    class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ROLE_UNSPECIFIED: _ClassVar[Message.Role]
        ROLE_SYSTEM: _ClassVar[Message.Role]
        ROLE_USER: _ClassVar[Message.Role]
        ROLE_ASSISTANT: _ClassVar[Message.Role]
    ROLE_UNSPECIFIED: Message.Role
    ROLE_SYSTEM: Message.Role
    ROLE_USER: Message.Role
    ROLE_ASSISTANT: Message.Role
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    role: Message.Role
    contents: _containers.RepeatedCompositeFieldContainer[Content]
    def __init__(self, role: _Optional[_Union[Message.Role, str]] = ..., contents: _Optional[_Iterable[_Union[Content, _Mapping]]] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class UserContext(_message.Message):
    __slots__ = ("history", "features")
    class Interaction(_message.Message):
        __slots__ = ("item", "time")
        ITEM_FIELD_NUMBER: _ClassVar[int]
        TIME_FIELD_NUMBER: _ClassVar[int]
        item: _catalog_pb2.ItemRef
        time: _timestamp_pb2.Timestamp
        def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    history: _containers.RepeatedCompositeFieldContainer[UserContext.Interaction]
    features: _containers.ScalarMap[str, str]
    def __init__(self, history: _Optional[_Iterable[_Union[UserContext.Interaction, _Mapping]]] = ..., features: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TaskPrompt(_message.Message):
    __slots__ = ("task", "item_type", "subject")
    class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TASK_UNSPECIFIED: _ClassVar[TaskPrompt.Task]
        TASK_RECOMMEND: _ClassVar[TaskPrompt.Task]
        TASK_RETRIEVE: _ClassVar[TaskPrompt.Task]
        TASK_EXPLAIN: _ClassVar[TaskPrompt.Task]
        TASK_UNDERSTAND: _ClassVar[TaskPrompt.Task]
    TASK_UNSPECIFIED: TaskPrompt.Task
    TASK_RECOMMEND: TaskPrompt.Task
    TASK_RETRIEVE: TaskPrompt.Task
    TASK_EXPLAIN: TaskPrompt.Task
    TASK_UNDERSTAND: TaskPrompt.Task
    TASK_FIELD_NUMBER: _ClassVar[int]
    ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    task: TaskPrompt.Task
    item_type: str
    subject: _containers.RepeatedCompositeFieldContainer[Content]
    def __init__(self, task: _Optional[_Union[TaskPrompt.Task, str]] = ..., item_type: _Optional[str] = ..., subject: _Optional[_Iterable[_Union[Content, _Mapping]]] = ...) -> None: ...

class DecodingParams(_message.Message):
    __slots__ = ("max_output_tokens", "max_items", "temperature", "top_p", "top_k", "seed", "stop_sequences", "beam_width")
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    BEAM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    max_output_tokens: int
    max_items: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop_sequences: _containers.RepeatedScalarFieldContainer[str]
    beam_width: int
    def __init__(self, max_output_tokens: _Optional[int] = ..., max_items: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., top_k: _Optional[int] = ..., seed: _Optional[int] = ..., stop_sequences: _Optional[_Iterable[str]] = ..., beam_width: _Optional[int] = ...) -> None: ...

class ResponseOptions(_message.Message):
    __slots__ = ("alternatives", "include_sids", "attributes", "format", "new_item_bonus")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[ResponseOptions.Format]
        FORMAT_ITEMS_ONLY: _ClassVar[ResponseOptions.Format]
        FORMAT_TEXT_ONLY: _ClassVar[ResponseOptions.Format]
    FORMAT_UNSPECIFIED: ResponseOptions.Format
    FORMAT_ITEMS_ONLY: ResponseOptions.Format
    FORMAT_TEXT_ONLY: ResponseOptions.Format
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SIDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NEW_ITEM_BONUS_FIELD_NUMBER: _ClassVar[int]
    alternatives: int
    include_sids: bool
    attributes: _containers.RepeatedScalarFieldContainer[str]
    format: ResponseOptions.Format
    new_item_bonus: float
    def __init__(self, alternatives: _Optional[int] = ..., include_sids: _Optional[bool] = ..., attributes: _Optional[_Iterable[str]] = ..., format: _Optional[_Union[ResponseOptions.Format, str]] = ..., new_item_bonus: _Optional[float] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "conversation", "task", "user", "constraints", "decoding", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    conversation: Conversation
    task: TaskPrompt
    user: UserContext
    constraints: _constraint_pb2.ConstraintSpec
    decoding: DecodingParams
    options: ResponseOptions
    def __init__(self, model: _Optional[str] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., task: _Optional[_Union[TaskPrompt, _Mapping]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., constraints: _Optional[_Union[_constraint_pb2.ConstraintSpec, _Mapping]] = ..., decoding: _Optional[_Union[DecodingParams, _Mapping]] = ..., options: _Optional[_Union[ResponseOptions, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("sequence", "start", "text_delta", "item_span", "usage", "finish")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    ITEM_SPAN_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    start: StreamStart
    text_delta: TextDelta
    item_span: ItemSpan
    usage: Usage
    finish: Finish
    def __init__(self, sequence: _Optional[int] = ..., start: _Optional[_Union[StreamStart, _Mapping]] = ..., text_delta: _Optional[_Union[TextDelta, _Mapping]] = ..., item_span: _Optional[_Union[ItemSpan, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class StreamStart(_message.Message):
    __slots__ = ("response_id", "model", "catalog", "unknown_history_items")
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_HISTORY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    response_id: str
    model: str
    catalog: CatalogState
    unknown_history_items: int
    def __init__(self, response_id: _Optional[str] = ..., model: _Optional[str] = ..., catalog: _Optional[_Union[CatalogState, _Mapping]] = ..., unknown_history_items: _Optional[int] = ...) -> None: ...

class CatalogState(_message.Message):
    __slots__ = ("snapshot", "generation")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    snapshot: str
    generation: int
    def __init__(self, snapshot: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ItemSpan(_message.Message):
    __slots__ = ("index", "item", "alternatives", "catalog")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    index: int
    item: RankedItem
    alternatives: _containers.RepeatedCompositeFieldContainer[RankedItem]
    catalog: CatalogState
    def __init__(self, index: _Optional[int] = ..., item: _Optional[_Union[RankedItem, _Mapping]] = ..., alternatives: _Optional[_Iterable[_Union[RankedItem, _Mapping]]] = ..., catalog: _Optional[_Union[CatalogState, _Mapping]] = ...) -> None: ...

class RankedItem(_message.Message):
    __slots__ = ("items", "sid", "logprob")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SID_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ResolvedItem]
    sid: _catalog_pb2.SemanticId
    logprob: float
    def __init__(self, items: _Optional[_Iterable[_Union[ResolvedItem, _Mapping]]] = ..., sid: _Optional[_Union[_catalog_pb2.SemanticId, _Mapping]] = ..., logprob: _Optional[float] = ...) -> None: ...

class ResolvedItem(_message.Message):
    __slots__ = ("item", "title", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _catalog_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_catalog_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    item: _catalog_pb2.ItemRef
    title: str
    attributes: _containers.MessageMap[str, _catalog_pb2.AttributeValue]
    def __init__(self, item: _Optional[_Union[_catalog_pb2.ItemRef, _Mapping]] = ..., title: _Optional[str] = ..., attributes: _Optional[_Mapping[str, _catalog_pb2.AttributeValue]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "text_tokens", "sid_tokens", "queue_time", "prefill_time", "decode_time", "cached_prompt_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SID_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    PREFILL_TIME_FIELD_NUMBER: _ClassVar[int]
    DECODE_TIME_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    text_tokens: int
    sid_tokens: int
    queue_time: _duration_pb2.Duration
    prefill_time: _duration_pb2.Duration
    decode_time: _duration_pb2.Duration
    cached_prompt_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., text_tokens: _Optional[int] = ..., sid_tokens: _Optional[int] = ..., queue_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prefill_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cached_prompt_tokens: _Optional[int] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("reason", "stop_sequence")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Finish.Reason]
        REASON_END_OF_SEQUENCE: _ClassVar[Finish.Reason]
        REASON_STOP_SEQUENCE: _ClassVar[Finish.Reason]
        REASON_MAX_TOKENS: _ClassVar[Finish.Reason]
        REASON_MAX_ITEMS: _ClassVar[Finish.Reason]
        REASON_NO_ELIGIBLE_ITEM: _ClassVar[Finish.Reason]
    REASON_UNSPECIFIED: Finish.Reason
    REASON_END_OF_SEQUENCE: Finish.Reason
    REASON_STOP_SEQUENCE: Finish.Reason
    REASON_MAX_TOKENS: Finish.Reason
    REASON_MAX_ITEMS: Finish.Reason
    REASON_NO_ELIGIBLE_ITEM: Finish.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    reason: Finish.Reason
    stop_sequence: str
    def __init__(self, reason: _Optional[_Union[Finish.Reason, str]] = ..., stop_sequence: _Optional[str] = ...) -> None: ...

class RankItemsRequest(_message.Message):
    __slots__ = ("model", "conversation", "task", "user", "constraints", "max_results", "options")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    conversation: Conversation
    task: TaskPrompt
    user: UserContext
    constraints: _constraint_pb2.ConstraintSpec
    max_results: int
    options: ResponseOptions
    def __init__(self, model: _Optional[str] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., task: _Optional[_Union[TaskPrompt, _Mapping]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., constraints: _Optional[_Union[_constraint_pb2.ConstraintSpec, _Mapping]] = ..., max_results: _Optional[int] = ..., options: _Optional[_Union[ResponseOptions, _Mapping]] = ...) -> None: ...

class RankItemsResponse(_message.Message):
    __slots__ = ("response_id", "model", "catalog", "results", "unknown_history_items", "usage")
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_HISTORY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    response_id: str
    model: str
    catalog: CatalogState
    results: _containers.RepeatedCompositeFieldContainer[RankedItem]
    unknown_history_items: int
    usage: Usage
    def __init__(self, response_id: _Optional[str] = ..., model: _Optional[str] = ..., catalog: _Optional[_Union[CatalogState, _Mapping]] = ..., results: _Optional[_Iterable[_Union[RankedItem, _Mapping]]] = ..., unknown_history_items: _Optional[int] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class WarmRequest(_message.Message):
    __slots__ = ("model", "conversation", "task", "user")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    model: str
    conversation: Conversation
    task: TaskPrompt
    user: UserContext
    def __init__(self, model: _Optional[str] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., task: _Optional[_Union[TaskPrompt, _Mapping]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ...) -> None: ...

class WarmResponse(_message.Message):
    __slots__ = ("catalog", "prompt_tokens", "cached_prompt_tokens", "unknown_history_items")
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_HISTORY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    catalog: CatalogState
    prompt_tokens: int
    cached_prompt_tokens: int
    unknown_history_items: int
    def __init__(self, catalog: _Optional[_Union[CatalogState, _Mapping]] = ..., prompt_tokens: _Optional[int] = ..., cached_prompt_tokens: _Optional[int] = ..., unknown_history_items: _Optional[int] = ...) -> None: ...

class GetServingInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServingInfoResponse(_message.Message):
    __slots__ = ("runtime_version", "instance_id", "models", "catalog", "item_types", "running_requests", "queued_requests", "max_beam_width", "max_context_tokens", "draining", "alias_sequence", "swap_failure")
    class ItemTypeInfo(_message.Message):
        __slots__ = ("item_type", "codebook", "level_sizes", "items")
        ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
        CODEBOOK_FIELD_NUMBER: _ClassVar[int]
        LEVEL_SIZES_FIELD_NUMBER: _ClassVar[int]
        ITEMS_FIELD_NUMBER: _ClassVar[int]
        item_type: str
        codebook: str
        level_sizes: _containers.RepeatedScalarFieldContainer[int]
        items: int
        def __init__(self, item_type: _Optional[str] = ..., codebook: _Optional[str] = ..., level_sizes: _Optional[_Iterable[int]] = ..., items: _Optional[int] = ...) -> None: ...
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    ITEM_TYPES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BEAM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    ALIAS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SWAP_FAILURE_FIELD_NUMBER: _ClassVar[int]
    runtime_version: str
    instance_id: str
    models: _containers.RepeatedScalarFieldContainer[str]
    catalog: CatalogState
    item_types: _containers.RepeatedCompositeFieldContainer[GetServingInfoResponse.ItemTypeInfo]
    running_requests: int
    queued_requests: int
    max_beam_width: int
    max_context_tokens: int
    draining: bool
    alias_sequence: int
    swap_failure: str
    def __init__(self, runtime_version: _Optional[str] = ..., instance_id: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ..., catalog: _Optional[_Union[CatalogState, _Mapping]] = ..., item_types: _Optional[_Iterable[_Union[GetServingInfoResponse.ItemTypeInfo, _Mapping]]] = ..., running_requests: _Optional[int] = ..., queued_requests: _Optional[int] = ..., max_beam_width: _Optional[int] = ..., max_context_tokens: _Optional[int] = ..., draining: _Optional[bool] = ..., alias_sequence: _Optional[int] = ..., swap_failure: _Optional[str] = ...) -> None: ...
