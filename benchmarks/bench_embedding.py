"""How many events a second the embedding stage embeds, by embedder and by members, each member a process.

Members join first, then events without embeddings come on the source topic faster than they are embedded; counted is
what the group committed, from the last event's arrival to the last commit. A member's numerical libraries have one
thread; the broker runs on the same cores. Members can only add up where cores are free, so their own processor time for
an event stands beside the rate: it tells what another member costs, whoever else is at work.

    python -m benchmarks.bench_embedding [--lexical 20000] [--minilm 1200] [--partitions 4]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError

from benchmarks.measure import report
from neo_runtime.catalog.item import Upsert
from neo_runtime.config import DEMO_MODEL
from neo_runtime.demo.taste import CATALOG
from neo_runtime.ingest.bulk import read_upserts
from neo_runtime.ingest.embedding import GROUP_PREFIX
from neo_runtime.ingest.local_kafka import LocalKafka
from neo_runtime.ingest.producing import publish_events
from neo_runtime.ingest.topics import ensure_twin
from neo_runtime.types import ItemKey

GIVE_UP_S = 300.0


def events(count: int) -> Iterator[Upsert]:
    """The demo's items, again and again under other ids."""
    items = read_upserts(sorted(CATALOG.glob("*.jsonl")))
    for number, item in enumerate(islice(cycle(items), count)):
        yield replace(item, key=ItemKey(item.key.type, f"n{number}"), embedding=None, embedding_model="")


@contextmanager
def member(folder: Path, bootstrap: str, embedder: str, source: str, target: str) -> Iterator[int]:
    """Its process id."""
    settings = {
        "NEO_KAFKA_BOOTSTRAP": bootstrap, "NEO_ITEMS_TOPIC": source, "NEO_EMBEDDED_TOPIC": target,
        "NEO_EMBEDDER": embedder, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (folder / "members.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "neo_runtime.cli.main", "embed", "run"], stdout=log, stderr=log,
            env={**os.environ, **settings},
        )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {GIVE_UP_S:g} s"
        time.sleep(0.05)


def processor_s(pids: list[int]) -> float:
    """Of all threads since they started."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(times[11]) + int(times[12]) for times in fields) / os.sysconf("SC_CLK_TCK")


def measure(
    folder: Path, bootstrap: str, embedder: str, members: int, count: int, partitions: int
) -> tuple[float, float]:
    """Events a second, and milliseconds of the members' processor time for one."""
    source = f"items-{embedder.partition(':')[0]}-{members}"
    target = f"{source}.embedded"
    group = GROUP_PREFIX + target
    ensure_twin(bootstrap, source, target, partitions=partitions)
    with ExitStack() as running, closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        pids = [
            running.enter_context(member(folder, bootstrap, embedder, source, target))
            for _ in range(members)
        ]  # fmt: skip

        def joined() -> bool:
            try:
                said = admin.describe_groups([group])[group]
            except CoordinatorNotAvailableError:  # a broker that has just started
                return False
            return said["group_state"] == "Stable" and len(said["members"]) == members

        def embedded() -> int:
            return sum(place.offset for place in admin.list_group_offsets(group)[group].values())

        until(joined, f"group of {members}")
        publish_events(bootstrap, ((source, event) for event in events(count)))
        first, began, used = embedded(), time.monotonic(), processor_s(pids)
        until(lambda: embedded() == count, "last event")
        done = count - first
        return done / (time.monotonic() - began), (processor_s(pids) - used) / done * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexical", type=int, default=20_000)
    parser.add_argument("--minilm", type=int, default=1_200)
    parser.add_argument("--partitions", type=int, default=4)
    arguments = parser.parse_args()
    counts = {f"lexical:{DEMO_MODEL / 'embedder'}": arguments.lexical, "minilm": arguments.minilm}
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as broker:
        for embedder, count in counts.items():
            for members in (1, 2):
                rate, used = measure(
                    Path(name), broker.bootstrap, embedder, members, count, arguments.partitions
                )  # fmt: skip
                rows.append([embedder.partition(":")[0], f"{count:,}", members, f"{rate:,.0f}", f"{used:.2f}"])
    header = ["embedder", "events", "members", "events a second", "processor ms an event"]
    note = (
        f"Texts of the demo's catalog, {arguments.partitions} partitions; broker and members on all cores, with others."
    )
    report("embedding", header, rows, note)


if __name__ == "__main__":
    main()
