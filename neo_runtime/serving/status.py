"""Errors to gRPC statuses: one table, always with ErrorInfo, so that programs need not read messages."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from neo_runtime.errors import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NeoError,
    NoEligibleItemError,
    NotFoundError,
    OverloadedError,
    PrefixCacheError,
    PromptTooLongError,
    SlowClientError,
    SnapshotError,
    UnavailableError,
)

DOMAIN = "neo-runtime"
# gRPC turns a status whose details exceed 8 KB into RESOURCE_EXHAUSTED.
MAX_VIOLATIONS = 20
MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_TEXT_BYTES = 500, 100, 100

_CODES: tuple[tuple[type[NeoError], grpc.StatusCode], ...] = (
    (PromptTooLongError, grpc.StatusCode.OUT_OF_RANGE),
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (NoEligibleItemError, grpc.StatusCode.FAILED_PRECONDITION),
    (PrefixCacheError, grpc.StatusCode.FAILED_PRECONDITION),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (SlowClientError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (ConflictError, grpc.StatusCode.ABORTED),
    (SnapshotError, grpc.StatusCode.FAILED_PRECONDITION),
    (NeoError, grpc.StatusCode.INTERNAL),
)


def code_of(error: NeoError) -> grpc.StatusCode:
    """The most specific row of the table."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def to_status(error: NeoError) -> grpc.Status:
    """For `context.abort_with_status`."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
        *_details(error),
    ]
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    code = code_of(error).value[0]
    status: grpc.Status = rpc_status.to_status(
        status_pb2.Status(code=code, message=_cut(str(error), MAX_MESSAGE_BYTES), details=packed)
    )
    return status


def _cut(text: str, limit: int) -> str:
    """By bytes: a symbol takes four, and gRPC sends each as twelve."""
    return text.encode()[:limit].decode(errors="ignore")


def _details(error: NeoError) -> list[Message]:
    if isinstance(error, InvalidRequestError):
        shown = error.violations[:MAX_VIOLATIONS]
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(v.field, MAX_NAME_BYTES), description=_cut(v.description, MAX_TEXT_BYTES)
            )
            for v in shown
        ]
        if len(error.violations) > len(shown):
            more = f"and {len(error.violations) - len(shown)} more"
            violations.append(error_details_pb2.BadRequest.FieldViolation(description=more))
        return [error_details_pb2.BadRequest(field_violations=violations)]
    if isinstance(error, NotFoundError):
        found = [
            error_details_pb2.ResourceInfo(resource_type=error.kind, resource_name=_cut(error.name, MAX_NAME_BYTES))
        ]
        if error.field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=error.field, description=_cut(str(error), MAX_TEXT_BYTES)
            )
            return [*found, error_details_pb2.BadRequest(field_violations=[violation])]
        return [*found]
    if isinstance(error, OverloadedError | UnavailableError):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        return [error_details_pb2.RetryInfo(retry_delay=delay)]
    return []
