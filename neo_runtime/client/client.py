"""NeoClient and AsyncNeoClient: rank, generate, and look at a serving worker. Clients never need to know a SID."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import grpc

from neo_runtime.client import requests as build
from neo_runtime.client.errors import to_call_error, translated
from neo_runtime.client.filters import Where
from neo_runtime.client.requests import Format, Prompt, TaskName
from neo_runtime.client.values import Event, EventReader, Ranking, Warmed, ranked_item, usage
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_admin_service_pb2 as admin_pb
from neo_runtime.v1 import catalog_admin_service_pb2_grpc as admin_rpc
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc

DEFAULT_TIMEOUT_S = 60.0
# Long answers outlive idle connections: ping, but not oftener than the server permits.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 256 << 20),  # 512 places with attributes are well over the default of 4 MB
)


def rank_request(
    item_type: str = "", *, prompt: Prompt = "", task: TaskName = "recommend", history: Iterable[ItemKey] = (),
    limit: int = 10, item_types: Iterable[str] = (), allow: Iterable[ItemKey] = (), deny: Iterable[ItemKey] = (),
    exclude_history: bool | None = None, where: Where | None = None, named_filters: Iterable[str] = (),
    region: str = "", attributes: Iterable[str] = (), include_sids: bool = False, new_item_bonus: float = 0.0,
    model: str = "",
) -> pb.RankItemsRequest:  # fmt: skip
    """With `item_type`: the task, about `prompt`. Without: `prompt` as it is, ranked over `item_types`.

    `where` is a filter tree, for example {"must": [{"attribute": "year", "range": {"greaterOrEqual": 1990}}]}, and
    `region` where the user is; without it, items that are available in some regions only are left out.
    `new_item_bonus`: how much sooner items come that were published after the model was trained; 1 is a factor of e.
    """
    request = pb.RankItemsRequest(
        model=model,
        user=build.user(history, region),
        constraints=build.constraints(item_types, allow, deny, exclude_history, where, named_filters),
        max_results=limit,
        options=build.options(attributes, include_sids, new_item_bonus),
    )
    if item_type:
        request.task.CopyFrom(build.task(task, item_type, prompt))
    else:
        request.conversation.CopyFrom(build.conversation(prompt))
    return request


def generate_request(
    prompt: Prompt = "", *, task: TaskName | None = None, item_type: str = "", history: Iterable[ItemKey] = (),
    item_types: Iterable[str] = (), allow: Iterable[ItemKey] = (), deny: Iterable[ItemKey] = (),
    exclude_history: bool | None = None, where: Where | None = None, named_filters: Iterable[str] = (),
    region: str = "", attributes: Iterable[str] = (), include_sids: bool = False, new_item_bonus: float = 0.0,
    alternatives: int = 0, output: Format = "mixed", max_output_tokens: int | None = None, max_items: int | None = None,
    temperature: float | None = None, top_p: float | None = None, top_k: int | None = None, seed: int | None = None,
    stop_sequences: Sequence[str] = (), beam_width: int | None = None, model: str = "",
) -> pb.GenerateRequest:  # fmt: skip
    """With `task`: the task, about `prompt`. Without: `prompt` as the user's message. Others as in `rank_request`."""
    request = pb.GenerateRequest(
        model=model,
        user=build.user(history, region),
        constraints=build.constraints(item_types, allow, deny, exclude_history, where, named_filters),
        options=build.options(attributes, include_sids, new_item_bonus, alternatives, output),
        decoding=pb.DecodingParams(
            max_output_tokens=max_output_tokens, max_items=max_items, temperature=temperature, top_p=top_p, top_k=top_k,
            seed=seed, stop_sequences=stop_sequences, beam_width=beam_width,
        ),
    )  # fmt: skip
    if task:
        request.task.CopyFrom(build.task(task, item_type, prompt))
    else:
        request.conversation.CopyFrom(build.conversation(prompt))
    return request


def _ranking(response: pb.RankItemsResponse) -> Ranking:
    return Ranking(
        tuple(ranked_item(row) for row in response.results),
        response.catalog.generation,
        response.catalog.snapshot,
        response.unknown_history_items,
        usage(response.usage),
    )


def _warmed(response: pb.WarmResponse) -> Warmed:
    return Warmed(
        response.prompt_tokens,
        response.cached_prompt_tokens,
        response.catalog.generation,
        response.catalog.snapshot,
        response.unknown_history_items,
    )


class NeoClient:
    """Blocking client. Every call has a deadline; CallError tells what was wrong."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._generation = rpc.GenerationServiceStub(self._channel)
        self._admin = admin_rpc.CatalogAdminServiceStub(self._channel)

    def rank(self, request: pb.RankItemsRequest) -> Ranking:
        """One ranked list; see `rank_request`."""
        with translated():
            return _ranking(self._generation.RankItems(request, timeout=self._timeout_s))

    def warm(self, request: pb.RankItemsRequest | pb.GenerateRequest) -> Warmed:
        """Have the prompt of a later request computed ahead, as far as it is known: a history may grow, a conversation
        may end with any message. Worth it over the same client alone: other workers do not know of it."""
        with translated():
            return _warmed(self._generation.Warm(build.warm(request), timeout=self._timeout_s))

    def generate(self, request: pb.GenerateRequest) -> Iterator[Event]:
        """A stream of text and items; see `generate_request`. Leaving the loop early cancels the answer."""
        call = self._generation.Generate(request, timeout=self._timeout_s)
        reader = EventReader()
        try:
            with translated():
                for message in call:
                    event = reader.read(message)
                    if event is not None:
                        yield event
        finally:
            call.cancel()

    def serving_info(self) -> pb.GetServingInfoResponse:
        with translated():
            info: pb.GetServingInfoResponse = self._generation.GetServingInfo(
                pb.GetServingInfoRequest(), timeout=self._timeout_s
            )
            return info

    def catalog(self) -> admin_pb.Catalog:
        with translated():
            response = self._admin.GetCatalog(admin_pb.GetCatalogRequest(), timeout=self._timeout_s)
            catalog: admin_pb.Catalog = response.catalog
            return catalog

    def item(self, key: ItemKey) -> admin_pb.GetItemResponse:
        with translated():
            request = admin_pb.GetItemRequest(item=build.item_ref(key))
            response: admin_pb.GetItemResponse = self._admin.GetItem(request, timeout=self._timeout_s)
            return response

    def wait_ready(self, timeout_s: float) -> None:
        """Until the worker answers; CallError where it does not in time."""
        with translated():
            self._generation.GetServingInfo(pb.GetServingInfoRequest(), timeout=timeout_s, wait_for_ready=True)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncNeoClient:
    """The same for asyncio."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._generation = rpc.GenerationServiceStub(self._channel)
        self._admin = admin_rpc.CatalogAdminServiceStub(self._channel)

    async def rank(self, request: pb.RankItemsRequest) -> Ranking:
        with translated():
            return _ranking(await self._generation.RankItems(request, timeout=self._timeout_s))

    async def warm(self, request: pb.RankItemsRequest | pb.GenerateRequest) -> Warmed:
        with translated():
            return _warmed(await self._generation.Warm(build.warm(request), timeout=self._timeout_s))

    async def generate(self, request: pb.GenerateRequest) -> AsyncIterator[Event]:
        """Close the iterator (`aclosing`) to cancel an answer that is not wanted to its end."""
        call = self._generation.Generate(request, timeout=self._timeout_s)
        reader = EventReader()
        try:
            async for message in call:
                event = reader.read(message)
                if event is not None:
                    yield event
        except grpc.aio.AioRpcError as error:
            raise to_call_error(error) from error
        finally:
            call.cancel()

    async def serving_info(self) -> pb.GetServingInfoResponse:
        with translated():
            info: pb.GetServingInfoResponse = await self._generation.GetServingInfo(
                pb.GetServingInfoRequest(), timeout=self._timeout_s
            )
            return info

    async def catalog(self) -> admin_pb.Catalog:
        with translated():
            response = await self._admin.GetCatalog(admin_pb.GetCatalogRequest(), timeout=self._timeout_s)
            catalog: admin_pb.Catalog = response.catalog
            return catalog

    async def item(self, key: ItemKey) -> admin_pb.GetItemResponse:
        with translated():
            request = admin_pb.GetItemRequest(item=build.item_ref(key))
            response: admin_pb.GetItemResponse = await self._admin.GetItem(request, timeout=self._timeout_s)
            return response

    async def wait_ready(self, timeout_s: float) -> None:
        """Until the worker answers; CallError where it does not in time."""
        with translated():
            await self._generation.GetServingInfo(pb.GetServingInfoRequest(), timeout=timeout_s, wait_for_ready=True)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
