"""Around every call of our services: errors become statuses with details, nothing internal leaves the process."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from neo_runtime.errors import FieldViolation, InvalidRequestError, NeoError
from neo_runtime.observability import metrics
from neo_runtime.serving.status import code_of, to_status

_log = structlog.get_logger(__name__)
_OURS = "/neo_runtime."


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Health and reflection pass untouched."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        name = handler_call_details.method.rsplit("/", 1)[1]
        # Parsed inside the guard: gRPC itself answers UNKNOWN to bytes that are no message.
        parse = handler.request_deserializer
        if handler.response_streaming:
            stream = _streaming(handler.unary_stream, parse, name)
            return handler._replace(request_deserializer=None, unary_stream=stream)
        return handler._replace(request_deserializer=None, unary_unary=_unary(handler.unary_unary, parse, name))


Parse = Callable[[bytes], Any]


def _unary(call: Callable[..., Awaitable[Any]], parse: Parse, name: str) -> Callable[..., Awaitable[Any]]:
    async def guarded(payload: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        watch = _Watch(name)
        try:
            response = await call(_parsed(parse, payload), context)
            watch.code = "OK"
            return response
        except NeoError as error:
            await watch.abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await watch.abort(context, _internal(name, error))
        finally:
            watch.close()

    return guarded


def _streaming(
    call: Callable[..., AsyncGenerator[Any, None]], parse: Parse, name: str
) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(payload: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        watch = _Watch(name)
        try:
            async with aclosing(call(_parsed(parse, payload), context)) as stream:
                async for response in stream:
                    yield response
            watch.code = "OK"
        except NeoError as error:
            await watch.abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await watch.abort(context, _internal(name, error))
        finally:
            watch.close()

    return guarded


def _parsed(parse: Parse, payload: bytes) -> Any:
    try:
        return parse(payload)
    except DecodeError as error:
        raise InvalidRequestError([FieldViolation("", f"not a message: {error}")], reason="UNDECODABLE") from error


class _Watch:
    """Outcome and duration of one call."""

    def __init__(self, name: str) -> None:
        self.name, self.code, self.started = name, "CANCELLED", time.monotonic()

    async def abort(self, context: grpc.aio.ServicerContext[Any, Any], error: NeoError) -> None:
        self.code = code_of(error).name
        _log.info("call refused", rpc=self.name, code=self.code, reason=error.reason, message=str(error))
        await context.abort_with_status(to_status(error))

    def close(self) -> None:
        metrics.REQUESTS.labels(self.name, self.code).inc()
        metrics.REQUEST_SECONDS.labels(self.name).observe(time.monotonic() - self.started)


def _internal(name: str, error: Exception) -> NeoError:
    incident = uuid.uuid4().hex[:12]
    _log.error("call failed", rpc=name, incident=incident, exc_info=error)
    return NeoError(f"internal error, incident {incident}", reason="INVARIANT_VIOLATED")
