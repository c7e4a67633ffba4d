"""gRPC statuses to exceptions that name reason and fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from neo_runtime.errors import NeoError


class CallError(NeoError):
    """A call failed. `code` is the gRPC status, `fields` the wrong fields with what they must be."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, fields: dict[str, str]) -> None:
        super().__init__(message, reason=reason)
        self.code, self.fields = code, fields

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later or elsewhere."""
        return self.code is grpc.StatusCode.UNAVAILABLE or self.reason == "QUEUE_FULL"


@contextmanager
def translated() -> Iterator[None]:
    """Raise CallError in place of grpc.RpcError."""
    try:
        yield
    except grpc.RpcError as error:
        raise to_call_error(error) from error


def to_call_error(error: grpc.RpcError) -> CallError:
    reason, fields = "", {}
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the status in the trailers does not match: gRPC itself replaced it
        status = None
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            fields = {violation.field: violation.description for violation in bad.field_violations}
    message = error.details() or "the worker cannot be reached"
    return CallError(error.code(), message, reason or error.code().name, fields)
