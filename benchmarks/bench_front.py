"""What the front end costs: time to a stream's first text through gRPC beside the same through the engine's pipe alone,
and how long another call takes while streams run. The worker and its engine are processes of their own, as in
production; the client shares their cores.

    python -m benchmarks.bench_front [--streams 1,8,50] [--seconds 8]
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Table, report_tables
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.client import AsyncNeoClient, Text, generate_request
from neo_runtime.config import DEMO_MODEL, Settings
from neo_runtime.engine.api import Decoding, EngineEvent, GenerateWork, OutputFormat, TextChunk
from neo_runtime.engine.process import EngineProcess
from neo_runtime.errors import NeoError
from neo_runtime.model.about import ModelAbout
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.snapshot.aliases import EVENTS
from neo_runtime.snapshot.follow import open_source
from neo_runtime.snapshot.served import ServedCatalog
from tests.kit import processes

PROMPT, TOKENS, ROUNDS = "Tell me about films.", 200, 200


def percentiles(seconds: list[float]) -> list[str]:
    return [f"{1e3 * value:.2f}" for value in (*np.percentile(seconds, [50, 99]), max(seconds))]


def through_the_pipe(catalog: Path) -> list[float]:
    """Seconds to the first text, one stream after the other."""
    about = ModelAbout.load(DEMO_MODEL)
    served = ServedCatalog(open_source(catalog, EVENTS, "", about.fingerprints))
    engine = EngineProcess(Settings(catalog=catalog, model=DEMO_MODEL, prefix_cache_mb=0), served)
    engine.wait()
    conversation = Conversation((Turn("user", (PROMPT,)),))
    work = GenerateWork(conversation, decoding=Decoding(max_output_tokens=2), format=OutputFormat.TEXT_ONLY)
    found = []
    for _ in range(ROUNDS):
        inbox: queue.Queue[EngineEvent | NeoError] = queue.Queue()
        began, event = time.perf_counter(), None
        number = engine.submit(work, inbox.put)
        while not isinstance(event, TextChunk):
            event = inbox.get(timeout=60)
        found.append(time.perf_counter() - began)
        engine.cancel(number)
    engine.stop()
    served.close()
    return found[10:]


async def through_grpc(client: AsyncNeoClient) -> list[float]:
    request = generate_request(PROMPT, max_output_tokens=2, output="text")
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async for event in client.generate(request):
            if isinstance(event, Text):
                found.append(time.perf_counter() - began)
                break
    return found[10:]


async def beside(client: AsyncNeoClient, other: AsyncNeoClient, streams: int, seconds: float) -> list[object]:
    """Another call, again and again, while so many streams run."""
    request = generate_request(PROMPT, max_output_tokens=TOKENS, temperature=2.0, seed=1, output="text")
    until, texts, calls = time.perf_counter() + seconds, 0, list[float]()

    async def stream() -> None:
        nonlocal texts
        while time.perf_counter() < until:
            async for event in client.generate(request):
                texts += isinstance(event, Text)

    running = [asyncio.create_task(stream()) for _ in range(streams)]
    while time.perf_counter() < until:
        await asyncio.sleep(0.005)
        began = time.perf_counter()
        await other.serving_info()
        calls.append(time.perf_counter() - began)
    await asyncio.gather(*running)
    return [streams, f"{texts / seconds:,.0f}", len(calls), *percentiles(calls)]


async def measured(address: str, streams: list[int], seconds: float) -> tuple[list[float], list[list[object]]]:
    async with AsyncNeoClient(address) as client, AsyncNeoClient(address) as other:
        first = await through_grpc(client)
        return first, [await beside(client, other, number, seconds) for number in streams]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,8,50")
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    streams = list(map(int, arguments.streams.split(",")))
    with tempfile.TemporaryDirectory() as name:
        catalog = Path(name) / "catalog"
        Catalog.create(catalog, dict(ModelAbout.load(DEMO_MODEL).codebooks)).close()
        pipe = through_the_pipe(catalog)
        with processes.serving(catalog, DEMO_MODEL, Path(name), max_running="64", prefix_cache_mb="0") as address:
            grpc, rows = asyncio.run(measured(address, streams, arguments.seconds))
    first = [["engine's pipe", *percentiles(pipe)], ["gRPC", *percentiles(grpc)]]
    report_tables("front", {
        "To the first text, ms": Table("One stream at a time.", ["through", "p50", "p99", "max"], first),
        "GetServingInfo while streams run, ms": Table(
            "On a connection of its own.", ["streams", "texts a second", "calls", "p50", "p99", "max"], rows
        ),
    })  # fmt: skip


if __name__ == "__main__":
    main()
