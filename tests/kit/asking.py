"""Clients that rank and stream all the time, through everything that happens to the worker, and keep what they got."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from neo_runtime.client import generate_request, rank_request
from neo_runtime.types import ItemKey
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1 import generation_service_pb2_grpc as rpc
from tests.kit import availability, tiny

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)  # killed, starting; paused
TIMEOUT_S = 15.0
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


@dataclass(frozen=True)
class Named:
    """An item in an answer."""

    key: ItemKey
    codes: tuple[int, ...]
    title: str


@dataclass
class Answer:
    """Times are of the wall clock. `is_whole`: else an error cut a stream short."""

    kind: str
    region: str
    asked_s: float
    asked_of: str = "no item"
    """The item in its prompt, which may be gone."""
    received_s: float = 0.0
    is_whole: bool = False
    named: list[tuple[int, Named]] = field(default_factory=list)
    """Each with the generation that it is said to be valid in."""
    generations: list[int] = field(default_factory=list)


class Asker(threading.Thread):
    """One client. What an answer's form breaks is in `problems` at once; what it says is judged by others, later."""

    def __init__(self, address: str, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"asker-{seed}", daemon=True)
        self._address, self._rng, self._stopped = address, random.Random(seed), stop
        self._history = [ItemKey.parse(item) for item in tiny.items(30)]
        self.answers: list[Answer] = []
        self.away: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self) -> None:
        with grpc.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            stub = rpc.GenerationServiceStub(channel)
            while not self._stopped.is_set():
                kind = self._rng.choice(["rank", "stream"])
                answer = Answer(kind, self._rng.choice(availability.REGIONS), time.time())
                try:
                    (self._rank if kind == "rank" else self._stream)(stub, answer)
                    self.answers.append(answer)
                except grpc.RpcError as error:
                    self._refused(answer, error)
                except Exception as error:
                    self.problems.append(f"{kind}: {error!r}")

    def _refused(self, answer: Answer, error: grpc.RpcError) -> None:
        self.answers.append(answer)  # what a stream said before it broke off counts
        self.away[error.code().name] += 1
        is_true = error.code() is grpc.StatusCode.NOT_FOUND and answer.asked_of in str(error.details())
        if error.code() not in AWAY and not is_true:
            self.problems.append(f"{answer.kind}: {error.code().name} {error.details()}")
        self._stopped.wait(0.1)

    def _rank(self, stub: rpc.GenerationServiceStub, answer: Answer) -> None:
        request = rank_request(
            self._rng.choice(list(tiny.TYPES)), history=self._rng.sample(self._history, 3), region=answer.region,
            limit=self._rng.choice([5, 20, 200]), include_sids=True, exclude_history=False,
        )  # fmt: skip
        response = stub.RankItems(request, timeout=TIMEOUT_S)
        answer.received_s, answer.is_whole = time.time(), True
        self._keep(answer, response.results, response.catalog.generation)

    def _stream(self, stub: rpc.GenerationServiceStub, answer: Answer) -> None:
        item = self._rng.choice(self._history)
        answer.asked_of = str(item)
        request = generate_request(
            ["Something like ", item, "?"], region=answer.region, temperature=1.3,
            output=self._rng.choice(["mixed", "items"]), alternatives=2, include_sids=True, max_output_tokens=24,
            max_items=4, seed=self._rng.randrange(1 << 30),
        )  # fmt: skip
        kinds: list[str] = []
        try:
            for message in stub.Generate(request, timeout=TIMEOUT_S):
                kinds.append(str(message.WhichOneof("event")))
                answer.received_s = time.time()
                self._check(message.sequence == len(kinds), f"message {len(kinds)} has number {message.sequence}")
                if kinds[-1] == "start":
                    answer.generations.append(message.start.catalog.generation)
                elif kinds[-1] == "item_span":
                    span = message.item_span
                    self._keep(answer, [span.item, *span.alternatives], span.catalog.generation)
            answer.is_whole = True
        finally:
            self._check_form(kinds, answer.is_whole)

    def _keep(self, answer: Answer, rows: Sequence[pb.RankedItem], generation: int) -> None:
        answer.generations.append(generation)
        keys = []
        for row in rows:
            for item in row.items:
                keys.append(ItemKey(item.item.item_type, item.item.item_id))
                answer.named.append((generation, Named(keys[-1], tuple(row.sid.codes), item.title)))
        self._check(len(keys) == len(set(keys)), f"an item twice among {keys}")

    def _check_form(self, kinds: list[str], is_whole: bool) -> None:
        """start (text_delta | item_span)* usage finish, then OK; or a prefix of that, then an error."""
        head, rest = kinds[:1], kinds[1:]
        while rest and rest[0] in ("text_delta", "item_span"):
            del rest[0]
        ends = ["usage", "finish"]
        if is_whole:
            is_formed = head == ["start"] and rest == ends
        else:
            is_formed = head in ([], ["start"]) and rest == ends[: len(rest)]
        self._check(is_formed, f"a {'whole' if is_whole else 'broken'} stream of {kinds}")

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)
