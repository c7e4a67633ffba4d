"""Ten times as many requests at once as a worker takes on: most are told when to come back, the rest is answered."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from neo_runtime.client import AsyncNeoClient, CallError, NeoClient, generate_request, rank_request
from neo_runtime.client.values import Finish, Text
from neo_runtime.types import ItemKey
from tests.kit import processes, tiny
from tests.kit.workers import until

RUNNING, QUEUED = 4, 28
CAPACITY = RUNNING + QUEUED
IN_TIME_S = 60.0
ROUNDS = 4


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("flooded")
    tiny.catalog(folder / "c", 20).close()
    tiny.model().save(folder / "model")
    limits = {"max_running": str(RUNNING), "max_queued": str(QUEUED), "max_backlog_seconds": "20"}
    with processes.serving(folder / "c", folder / "model", folder, **limits) as found:
        yield found


async def ask(client: AsyncNeoClient, number: int) -> str:
    """How one request of the flood ends: every third is a list, the others are streams."""
    try:
        if number % 3 == 0:
            ranking = await client.rank(rank_request("film", history=[ItemKey("film", "f1")], limit=5))
            return "answered" if len(ranking.results) == 5 else "short"
        request = generate_request("Talk. " * 20, temperature=3.0, seed=number, max_output_tokens=60)
        events = [event async for event in client.generate(request)]
        return "answered" if isinstance(events[-1], Finish) else "cut"
    except CallError as error:
        assert error.retriable
        assert error.retry_after_s is not None, error
        assert 0.1 <= error.retry_after_s <= 60
        return f"{error.code.name} {error.reason}"


async def flood(address: str) -> Counter[str]:
    async with AsyncNeoClient(address, timeout_s=IN_TIME_S) as client:
        return Counter(await asyncio.gather(*(ask(client, number) for number in range(10 * CAPACITY))))


async def ask_until_answered(client: AsyncNeoClient, number: int) -> int:
    """Follow the hints; how often it was refused."""
    for refused in range(1_000):
        try:
            await client.rank(rank_request("film", history=[ItemKey("film", f"f{number % 20}")]))
            return refused
        except CallError as error:
            assert error.retry_after_s is not None, error
            await asyncio.sleep(error.retry_after_s)
    raise AssertionError("refused a thousand times")


def test_a_flood_is_refused_with_hints_and_memory_stays_while_the_admitted_are_answered_in_time(address: str) -> None:
    with NeoClient(address) as client:
        before = text(client)
        sizes = []
        for _ in range(ROUNDS):
            outcomes = asyncio.run(flood(address))
            assert set(outcomes) <= {"answered", "RESOURCE_EXHAUSTED QUEUE_FULL", "RESOURCE_EXHAUSTED BACKLOG_FULL"}
            assert outcomes["answered"] >= CAPACITY
            until(lambda: not in_flight(client), "an idle worker", lambda: str(client.serving_info()))
            sizes.append(memory())
        assert sizes[-1] < sizes[0] + 30_000_000, sizes
        assert text(client) == before


def test_whoever_comes_back_when_told_is_answered(address: str) -> None:
    async def everybody() -> list[int]:
        async with AsyncNeoClient(address, timeout_s=IN_TIME_S) as client:
            return await asyncio.gather(*(ask_until_answered(client, number) for number in range(5 * CAPACITY)))

    assert len(asyncio.run(everybody())) == 5 * CAPACITY


def text(client: NeoClient) -> str:
    request = generate_request("Talk.", temperature=3.0, seed=7, max_output_tokens=60)
    return "".join(event.text for event in client.generate(request) if isinstance(event, Text))


def in_flight(client: NeoClient) -> int:
    info = client.serving_info()
    return info.running_requests + info.queued_requests


def memory() -> int:
    """Of the worker and its engine, in bytes: all below this process."""
    return sum(map(processes.resident, below(os.getpid())))


def below(pid: int) -> list[int]:
    found = processes.children(pid)
    return [*found, *(deeper for child in found for deeper in below(child))]
