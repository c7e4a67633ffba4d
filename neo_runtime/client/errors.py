"""gRPC statuses to exceptions that name reason and fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from neo_runtime.errors import NeoError


class CallError(NeoError):
    """A call failed. `code` is the gRPC status, `fields` the wrong fields with what they must be; `retry_after_s`: when
    the worker expects to have room, None where it does not say.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, reason: str, fields: dict[str, str],
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, reason=reason)
        self.code, self.fields, self.retry_after_s = code, fields, retry_after_s

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later or elsewhere."""
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_after_s is not None


@contextmanager
def translated() -> Iterator[None]:
    """Raise CallError in place of grpc.RpcError."""
    try:
        yield
    except grpc.RpcError as error:
        raise to_call_error(error) from error


def to_call_error(error: grpc.RpcError) -> CallError:
    reason, fields, retry_after_s = "", {}, None
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the status in the trailers does not match: gRPC itself replaced it
        status = None
    for detail in status.details if status else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            fields = {violation.field: violation.description for violation in bad.field_violations}
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    message = error.details() or "the worker cannot be reached"
    return CallError(error.code(), message, reason or error.code().name, fields, retry_after_s)
