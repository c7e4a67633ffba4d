"""A catalog that changes for ever and stays as large as it was: file, log, segments and memory maps reach a plateau.

`NEO_CHURN_BATCHES` sets how long.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from neo_runtime.catalog import batch as batch_module
from neo_runtime.catalog import catalog as catalog_module
from neo_runtime.catalog import forgetting as forgetting_module
from neo_runtime.catalog import reader as reader_module
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.forgetting import Forgetting
from neo_runtime.catalog.item import Availability, Event, Rejected, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.trie import TrieView
from neo_runtime.trie.windows import Window
from neo_runtime.types import ItemKey
from tests.kit import eager, processes, tiny
from tests.kit.viewing import Viewer, gone_segments
from tests.kit.workers import until

BATCHES = int(os.environ.get("NEO_CHURN_BATCHES", "800"))
POPULATION = {"film": 200, "book": 20, "artist": 100}
"""Always as many of a type: an item comes as one goes, in the same batch."""
KEEP_DELETED_ROUNDS = 20
IN_USE_SLACK = 256 << 10  # pages that the free list itself takes, and half-empty ones
DATA_SLACK = 4 << 20  # what commits take while a reader is kept from running for some tenths of a second
KEPT_DEAD_LETTERS, KEPT_WAITING = 50, 50
SETTLE_EVERY = 100  # batches after which a compaction aside is waited for: how long the log gets is no matter of speed

Bearers = dict[str, list[tuple[str, ...]]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + BATCHES)]


@dataclass
class Size:
    """What a catalog takes."""

    data: int
    """Bytes of data.mdb, which LMDB never makes smaller."""
    in_use: int
    """Bytes of its pages that are not free for the next commits."""
    segments: int
    segment_files: int
    log: int
    """Bytes of the log's pages."""
    entries: dict[str, int]

    @classmethod
    def of(cls, catalog: Catalog) -> Size:
        files = [path.stat().st_size for path in (catalog.store.path / "segments").iterdir()]
        with catalog.store.read() as txn:
            entries = {name: txn.entries(name) for name in ("items", "sid_items", "availability", "waiting", "outbox")}
            entries |= {"dead_letters": txn.entries("dead_letters"), "offsets": txn.entries("offsets")}
            log = txn.size("log")
        usage = catalog.store.usage()
        data = (catalog.store.path / "data.mdb").stat().st_size
        return cls(data, usage.used_bytes - usage.free_bytes, sum(files), len(files), log, entries)


@dataclass
class Churn:
    """Batches of ever new items, each of a round, which is a second of the catalog's clock."""

    catalog: Catalog
    forgetting: Forgetting
    clock: SimpleNamespace
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    live: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    round: int = 0
    offset: int = 0

    def fill(self) -> None:
        self._apply([self._new(kind) for kind, count in POPULATION.items() for _ in range(count)])

    def turn(self) -> None:
        """One batch, then what a worker does beside it."""
        self.round += 1
        self.clock.round = self.round
        events: list[Event] = []
        for kind in self.rng.choices(list(POPULATION), [6, 1, 3], k=3):
            items = self.live[kind]
            events.append(self._upsert(self.rng.choice(items), moves=True))
            events.append(self._upsert(self.rng.choice(items), moves=False))
            gone = items.pop(self.rng.randrange(len(items)))
            events += [tiny.delete(gone, time=self._now(), offset=self._next()), self._new(kind)]
            events.append(self._said(self.rng.choice([gone, *items])))
        if self.round % 5 == 0:
            events.append(Rejected(tiny.raw(self._next()), "UNDECODABLE", "no event"))
        self._apply(events)
        self.forgetting.turn()
        self.catalog.acknowledge([number for number, _ in self.catalog.outbox()], {("assignments", 0): self.round})
        if self.round % SETTLE_EVERY == 0:
            self.settle()

    def settle(self) -> None:
        running = self.catalog._compaction
        if running is not None:
            until(running.is_over, "a compaction that is over", lambda: f"round {self.round}", 120)

    def _apply(self, events: list[Event]) -> None:
        self.catalog.apply(events, {("test", 0): self.offset}, publish=True)

    def _now(self) -> int:
        return self.round * 1_000_000

    def _next(self) -> int:
        self.offset += 1
        return self.offset - 1

    def _new(self, kind: str) -> Upsert:
        items = self.live.setdefault(kind, [])
        items.append(f"{kind}/{self.offset}")
        return self._upsert(items[-1], moves=True)

    def _upsert(self, item: str, *, moves: bool) -> Upsert:
        """Where it does not move, other attributes or another popularity."""
        self.versions[item] = version = self.versions.get(item, -1) + moves
        return tiny.upsert(
            item, time=self._now(), version=version, offset=self._next(), popularity=self.rng.randrange(2),
            genre=self.rng.choice(["war", "love", "none"]),
        )  # fmt: skip

    def _said(self, item: str) -> Availability:
        """Also of items that are gone, and of items that never come."""
        if self.rng.random() < 0.3:
            item = f"film/never-{self.offset}"
        windows = self.rng.choice([(), (Window(),), (Window(regions=("NO",)),)])
        return Availability(ItemKey.parse(item), self._now(), windows, False, tiny.raw(self._next()))


@pytest.fixture
def churn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Churn]:
    clock = SimpleNamespace(round=0)
    clock.monotonic, clock.time_ns = lambda: float(clock.round), lambda: clock.round * 10**9
    monkeypatch.setattr(forgetting_module, "time", clock)
    monkeypatch.setattr(batch_module, "KEPT_DEAD_LETTERS", KEPT_DEAD_LETTERS)
    monkeypatch.setattr(batch_module, "MIN_WAITING", KEPT_WAITING)
    monkeypatch.setattr(catalog_module, "COMPACT_LEAVES", eager.COMPACT_LEAVES)
    monkeypatch.setattr(reader_module, "_REBASE_LEAVES", eager.REBASE_LEAVES)
    catalog = Catalog.create(tmp_path / "catalog", tiny.codebooks())
    made = Churn(catalog, Forgetting(catalog, KEEP_DELETED_ROUNDS, publish=True), clock)
    made.fill()
    yield made
    catalog.close()


@contextmanager
def viewed_from_another_process(catalog: Catalog) -> Iterator[dict[str, object]]:
    """What it saw is there after the block."""
    arguments = [sys.executable, "-m", "tests.kit.viewing", str(catalog.store.path), json.dumps(POPULATION)]
    seen: dict[str, object] = {}
    with subprocess.Popen(
        arguments, cwd=processes.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield seen
        output, _ = process.communicate("")
    assert process.returncode == 0
    seen |= json.loads(output)


def churned(churn: Churn) -> tuple[Size, Size, TrieView, Bearers]:
    """Sizes after a quarter and in the end, and the view of the first quarter with what it named then."""
    reader = CatalogReader(churn.catalog.store, {name: book.space for name, book in churn.catalog.codebooks.items()})
    for _ in range(BATCHES // 4):
        churn.turn()
    churn.settle()
    reader.rebase()
    quarter, kept = Size.of(churn.catalog), reader.view()
    bearers_then = bearers(kept)
    for _ in range(BATCHES - BATCHES // 4):
        churn.turn()
        reader.view()
    churn.settle()
    churn.turn()  # takes what was made aside
    reader.rebase()
    return quarter, Size.of(churn.catalog), kept, bearers_then


def bearers(view: TrieView) -> Bearers:
    """Items on every leaf that is or was in its base."""
    return {kind: [found.items_on(int(key)) for key in found.base.keys] for kind, found in view.types.items()}


def assert_is_a_plateau(quarter: Size, whole: Size, *, waits: bool) -> None:
    """Population and what is kept of the past are as large all along. So nothing may grow but by chance:

    - pages in use go up and down with the log, by no more than it may hold
    - data.mdb holds the most pages that were ever in use at once, and pages that a read transaction kept from being
      used again: on a busy machine, seconds of commits. A quarter of the run has seen much of the worst; three times as
      many chances may bring one that is twice as bad. A leak of a page a batch would show in the pages in use.
    - the log is anything between nothing and what calls for a compaction, or comes while one runs aside
    """
    assert whole.in_use - whole.log <= 1.2 * (quarter.in_use - quarter.log) + IN_USE_SLACK, (quarter, whole)
    assert whole.data <= 3 * quarter.data + DATA_SLACK, (quarter, whole)
    assert whole.segments <= 1.2 * quarter.segments, (quarter, whole)
    assert whole.segment_files == len(POPULATION), (quarter, whole)
    batches = SETTLE_EVERY if waits else eager.COMPACT_LEAVES
    assert whole.log <= 8_192 * batches, whole
    deleted = 3 * (KEEP_DELETED_ROUNDS + 2 * len(POPULATION))
    assert whole.entries["items"] <= sum(POPULATION.values()) + deleted, whole
    assert whole.entries["items"] > sum(POPULATION.values()), "deletions are kept for a while"
    assert whole.entries["sid_items"] == sum(POPULATION.values()), whole
    assert whole.entries["waiting"] <= KEPT_WAITING + 1, whole
    assert whole.entries["availability"] <= sum(POPULATION.values()) + KEPT_WAITING + 1, whole
    assert (whole.entries["outbox"], whole.entries["dead_letters"]) == (0, KEPT_DEAD_LETTERS), whole
    assert whole.entries["offsets"] == 2, whole


@pytest.mark.parametrize("aside", [False, True], ids=["folded inline", "folded aside"])
def test_a_catalog_that_changes_for_ever_takes_no_more_room_and_no_more_maps(
    aside: bool, churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, folder = churn.catalog, churn.catalog.store.path
    if aside:
        monkeypatch.setattr(catalog_module, "COMPACT_INLINE_LEAVES", 0)
    viewer = Viewer(
        CatalogReader(catalog.store, {name: book.space for name, book in catalog.codebooks.items()}), POPULATION
    )
    with viewed_from_another_process(catalog) as seen:
        viewer.start()
        quarter, whole, kept, bearers_then = churned(churn)
        viewer.end()
    print(quarter, whole, len(viewer.generations), seen, sep="\n")
    assert viewer.problems == seen["problems"] == []
    assert min(len(viewer.generations), int(str(seen["generations"]))) > 10
    assert_is_a_plateau(quarter, whole, waits=aside)

    assert len(gone_segments(folder)) == len(POPULATION), "the base of the view that is kept, and no other"
    assert bearers(kept) == bearers_then, "what it names is there as long as it is"
    del kept
    gc.collect()
    assert gone_segments(folder) == seen["gone_segments_in_the_end"] == []
