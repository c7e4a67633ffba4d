"""The gRPC server of a serving worker: build, listen, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from neo_runtime.engine.api import Engine
from neo_runtime.errors import StartupError
from neo_runtime.model.about import ModelAbout
from neo_runtime.serving.admin import CatalogAdminService
from neo_runtime.serving.generation import GenerationService
from neo_runtime.serving.interceptor import ErrorInterceptor
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.trie.predicate import Predicate
from neo_runtime.v1 import (
    catalog_admin_service_pb2,
    catalog_admin_service_pb2_grpc,
    generation_service_pb2,
    generation_service_pb2_grpc,
)

_log = structlog.get_logger(__name__)
GENERATION = generation_service_pb2.DESCRIPTOR.services_by_name["GenerationService"].full_name
ADMIN = catalog_admin_service_pb2.DESCRIPTOR.services_by_name["CatalogAdminService"].full_name
LAST_WORDS_S = 1.0  # for statuses that are on their way when the answers are over

OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second server on a taken port starts and gets half of the calls
    ("grpc.max_receive_message_length", 16 << 20),  # room for 10,000 allowed and denied items
    # Clients may ping during a long answer; the default cuts those off that ping oftener than every five minutes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_age_ms", 30 * 60_000),  # so that new workers get their share of old clients
    ("grpc.max_connection_age_grace_ms", 5 * 60_000),
)


async def serve(
    engine: Engine,
    model: ModelAbout,
    served: ServedCatalog,
    follower: AliasFollower,
    *,
    listen: str,
    filters: Mapping[str, Predicate],
    max_seconds: float,
    drain_seconds: float,
    stop: Callable[[], Awaitable[None]],
    ready: Callable[[str], None],
) -> None:
    """Serve until `stop` returns, then let running streams finish. `ready` gets the address that is listened on.

    StartupError where the address is taken or cannot be used.
    """
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=OPTIONS)
    generation = GenerationService(engine, model, served, follower, max_seconds=max_seconds, filters=filters)
    generation_service_pb2_grpc.add_GenerationServiceServicer_to_server(generation, server)
    admin = CatalogAdminService(served, dict(model.codebooks), follower.snapshots)
    catalog_admin_service_pb2_grpc.add_CatalogAdminServiceServicer_to_server(admin, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([GENERATION, ADMIN, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise StartupError(
            f"cannot listen on {listen}: the port is taken or the address is not of this machine"
        ) from error
    await server.start()
    await checks.set(ADMIN, health_pb2.HealthCheckResponse.SERVING)
    watching = asyncio.create_task(_health(checks, _changes(engine)))
    ready(f"{listen.rpartition(':')[0]}:{port}")
    try:
        await stop()
    finally:
        generation.draining = True
        watching.cancel()
        await checks.enter_graceful_shutdown()
        _log.info("draining", running=engine.running, queued=engine.queued, grace_s=drain_seconds)
        await asyncio.shield(_drained(server, generation, drain_seconds))


def _changes(engine: Engine) -> asyncio.Queue[bool]:
    """Whether the engine can answer, at once and at every change."""
    loop, changes = asyncio.get_running_loop(), asyncio.Queue[bool]()

    def told(is_ready: bool) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(changes.put_nowait, is_ready)

    engine.watch(told)
    return changes


async def _health(checks: health.aio.HealthServicer, changes: asyncio.Queue[bool]) -> None:
    while True:
        is_ready = await changes.get()
        status = health_pb2.HealthCheckResponse
        for name in ("", GENERATION):
            await checks.set(name, status.SERVING if is_ready else status.NOT_SERVING)


async def _drained(server: grpc.aio.Server, generation: GenerationService, seconds: float) -> None:
    """Nobody new from now on; running answers get `seconds`, then UNAVAILABLE with its reason.

    Watchers of health never end by themselves, so the server's own grace would always be waited for to its end.
    """
    stopped = asyncio.create_task(server.stop(seconds + LAST_WORDS_S))
    patience = asyncio.get_running_loop().time() + seconds
    while generation.answering and asyncio.get_running_loop().time() < patience:
        await asyncio.sleep(0.02)
    generation.give_up()
    await server.stop(LAST_WORDS_S)
    await stopped
