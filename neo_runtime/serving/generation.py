"""GenerationService: requests in, engine work out, events back. Runs in the asyncio loop, never computes."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import grpc
import structlog

from neo_runtime.engine.api import (
    Engine,
    Finished,
    FinishReason,
    Ranked,
    RankedList,
    Span,
    Started,
    TextChunk,
    Usage,
    Warmed,
    Work,
)
from neo_runtime.errors import DeadlineError, UnavailableError
from neo_runtime.model.about import ModelAbout
from neo_runtime.observability import metrics
from neo_runtime.serving.answers import AnswerWriter, usage_message
from neo_runtime.serving.outbox import Outbox
from neo_runtime.serving.requests import RequestReader
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog
from neo_runtime.trie.predicate import Predicate
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc

_log = structlog.get_logger(__name__)
_FINISH = {
    FinishReason.END_OF_SEQUENCE: pb.Finish.REASON_END_OF_SEQUENCE,
    FinishReason.STOP_SEQUENCE: pb.Finish.REASON_STOP_SEQUENCE,
    FinishReason.MAX_TOKENS: pb.Finish.REASON_MAX_TOKENS,
    FinishReason.MAX_ITEMS: pb.Finish.REASON_MAX_ITEMS,
    FinishReason.NO_ELIGIBLE_ITEM: pb.Finish.REASON_NO_ELIGIBLE_ITEM,
}
Context = grpc.aio.ServicerContext[Any, Any]


class _Flow(NamedTuple):
    """One request of an engine."""

    engine: Engine
    number: int

    def pause(self) -> None:
        self.engine.pause(self.number)

    def resume(self) -> None:
        self.engine.resume(self.number)

    def cancel(self) -> None:
        self.engine.cancel(self.number)


class GenerationService(rpc.GenerationServiceServicer):
    """`max_seconds` bounds every call, whatever deadline the client set. `filters`: those with a name."""

    def __init__(
        self, engine: Engine, model: ModelAbout, served: ServedCatalog, follower: AliasFollower, *, max_seconds: float,
        filters: Mapping[str, Predicate],
    ) -> None:  # fmt: skip
        self._engine, self._model, self._served, self._max_seconds = engine, model, served, max_seconds
        self._follower, self._filters = follower, filters
        self.draining = False
        self._outboxes: set[Outbox] = set()

    @property
    def answering(self) -> int:
        """Calls that an answer is being decoded for."""
        return len(self._outboxes)

    def give_up(self) -> None:
        """End every answer that still runs, with UNAVAILABLE."""
        for outbox in self._outboxes:
            outbox.fail(UnavailableError("this worker stopped before the answer was whole"))

    async def RankItems(self, request: pb.RankItemsRequest, context: Context) -> pb.RankItemsResponse:  # noqa: N802
        work = self._requests().rank(request)
        async with self._submitted(work) as outbox:
            result = await outbox.get()
            assert isinstance(result, RankedList)
            results = self._answers(request.options).ranked(result.ranked, result.snapshot)
        self._count(result.ranked)
        return pb.RankItemsResponse(
            response_id=uuid.uuid4().hex,
            model=self._model.name,
            catalog=self._catalog_state(result.snapshot, result.generation),
            results=results,
            unknown_history_items=result.unknown_history,
            usage=self._usage(result.usage),
        )

    async def Warm(self, request: pb.WarmRequest, context: Context) -> pb.WarmResponse:  # noqa: N802
        work = self._requests().warm(request)
        async with self._submitted(work) as outbox:
            result = await outbox.get()
            assert isinstance(result, Warmed)
        metrics.PREFIX_CACHE_BYTES.set(self._engine.cached_bytes)
        return pb.WarmResponse(
            catalog=self._catalog_state(result.snapshot, result.generation),
            prompt_tokens=result.prompt_tokens,
            cached_prompt_tokens=result.cached_prompt_tokens,
            unknown_history_items=result.unknown_history,
        )

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        started, first = time.monotonic(), True
        work = self._requests().generate(request)
        answers = self._answers(request.options)
        sequence = 0
        async with self._submitted(work) as outbox:
            while True:
                event = await outbox.get()
                if first and isinstance(event, TextChunk | Span):
                    first = False
                    metrics.FIRST_EVENT_SECONDS.labels("Generate").observe(time.monotonic() - started)
                for message in self._messages(event, answers):
                    sequence += 1
                    message.sequence = sequence
                    yield message
                if isinstance(event, Finished):
                    return

    def _messages(self, event: object, answers: AnswerWriter) -> list[pb.GenerateResponse]:
        if isinstance(event, Started):
            start = pb.StreamStart(
                response_id=uuid.uuid4().hex,
                model=self._model.name,
                catalog=self._catalog_state(event.snapshot, event.generation),
                unknown_history_items=event.unknown_history,
            )
            return [pb.GenerateResponse(start=start)]
        if isinstance(event, TextChunk):
            return [pb.GenerateResponse(text_delta=pb.TextDelta(text=event.text))]
        if isinstance(event, Span):
            self._count(event.ranked[:1])
            rows = answers.ranked(event.ranked, event.snapshot)
            catalog = self._catalog_state(event.snapshot, event.generation)
            span = pb.ItemSpan(index=event.index, item=rows[0], alternatives=rows[1:], catalog=catalog)
            return [pb.GenerateResponse(item_span=span)]
        assert isinstance(event, Finished)
        finish = pb.Finish(reason=_FINISH[event.reason], stop_sequence=event.stop_sequence)
        return [pb.GenerateResponse(usage=self._usage(event.usage)), pb.GenerateResponse(finish=finish)]

    async def GetServingInfo(  # noqa: N802
        self, request: pb.GetServingInfoRequest, context: Context
    ) -> pb.GetServingInfoResponse:
        with self._served.hold() as source:
            state, limits = source.reader.state(), self._engine.limits
        return pb.GetServingInfoResponse(
            runtime_version=version("neo-runtime"),
            instance_id=self._follower.instance,
            models=[self._model.name],
            catalog=pb.CatalogState(snapshot=source.name, generation=state.generation),
            item_types=[
                pb.GetServingInfoResponse.ItemTypeInfo(
                    item_type=name,
                    codebook=codebook.fingerprint,
                    level_sizes=codebook.space.level_sizes,
                    items=state.stats[name].items if name in state.stats else 0,
                )
                for name, codebook in self._model.codebooks.items()
            ],
            running_requests=self._engine.running,
            queued_requests=self._engine.queued,
            max_beam_width=limits.max_beam_width,
            max_context_tokens=limits.max_context_tokens,
            draining=self.draining,
            alias_sequence=self._follower.sequence,
            swap_failure=self._follower.failure,
        )

    def _requests(self) -> RequestReader:
        if self.draining:
            raise UnavailableError("this worker is draining; another one will answer")
        return RequestReader(self._model.name, self._model.codebooks, self._engine.limits, self._filters)

    def _answers(self, options: pb.ResponseOptions) -> AnswerWriter:
        return AnswerWriter(options, self._model.fingerprints, self._served.items)

    @asynccontextmanager
    async def _submitted(self, work: Work) -> AsyncIterator[Outbox]:
        """The request runs as long as this block: cancelled, timed out or failed, the engine forgets it."""
        with self._served.hold():  # what a span is decoded on stays open until its titles are read
            outbox = Outbox()
            number = self._engine.submit(work, outbox.put)
            outbox.follow(_Flow(self._engine, number))
            self._outboxes.add(outbox)
            # Not asyncio.timeout: gRPC never ends a call whose task is cancelled while it writes, and the client hangs.
            limit = asyncio.get_running_loop().call_later(self._max_seconds, self._expire, number, outbox)
            try:
                yield outbox
            finally:
                limit.cancel()
                outbox.close()
                self._outboxes.discard(outbox)
                self._engine.cancel(number)

    def _expire(self, number: int, outbox: Outbox) -> None:
        """Stop decoding also where the client does not read and the call cannot end yet."""
        self._engine.cancel(number)
        outbox.fail(DeadlineError(f"the answer took longer than this worker's {self._max_seconds:g} s"))

    def _catalog_state(self, snapshot: str, generation: int) -> pb.CatalogState:
        metrics.SERVED_GENERATION.set(generation)
        return pb.CatalogState(snapshot=snapshot, generation=generation)

    def _usage(self, usage: Usage) -> pb.Usage:
        metrics.PREFIX_CACHE_ASKED_TOKENS.inc(usage.prompt_tokens)
        metrics.PREFIX_CACHE_HIT_TOKENS.inc(usage.cached_prompt_tokens)
        metrics.PREFIX_CACHE_BYTES.set(self._engine.cached_bytes)
        return usage_message(usage)

    def _count(self, ranked: tuple[Ranked, ...]) -> None:
        for row in ranked:
            metrics.ITEMS_EMITTED.labels(row.item_type).inc()
