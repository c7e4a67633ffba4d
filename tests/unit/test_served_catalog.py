"""The swap: what is held stays open, what nobody holds is closed, and answers are resolved where they were decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.errors import CatalogError, MismatchError, SnapshotError
from neo_runtime.snapshot import aliases
from neo_runtime.snapshot.aliases import EVENTS
from neo_runtime.snapshot.create import create_snapshot
from neo_runtime.snapshot.follow import AliasFollower
from neo_runtime.snapshot.served import ServedCatalog, Source
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore
from neo_runtime.types import ItemKey
from tests.kit import tiny
from tests.kit.snapshots import flip

KEY = ItemKey("film", "f1")
FINGERPRINTS = {name: book.fingerprint for name, book in tiny.codebooks().items()}


def is_open(source: Source) -> bool:
    try:
        source.reader.state()
    except lmdb.Error:
        return False
    return True


class Worker:
    """A follower that a test tells when to look."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.snapshots = folder, Snapshots(LocalStore(folder / "s"))
        self.write("Live")
        for name in ("a", "b"):
            self.write(f"Title in {name}")
            create_snapshot(folder / "c", self.snapshots.store, name=name)
        self.write("Live")
        self.follower = AliasFollower(self.snapshots, folder / "c", FINGERPRINTS, "w")
        self.served = self.follower.begin()

    def write(self, title: str) -> None:
        path = self.folder / "c"
        catalog = Catalog.open(path) if Catalog.exists(path) else tiny.catalog(path, 3)
        catalog.apply([tiny.upsert("film/f1", time=catalog.reader.state().generation + 5, title=title)])
        catalog.close()

    def goes_to(self, name: str) -> Source:
        self.snapshots.aliases.move(aliases.serve(self.snapshots.promotion(name, self.state).target))
        self.follower.look()
        assert self.follower.failure == ""
        self.served.close_unheld()
        return self.served.source

    @property
    def state(self) -> aliases.AliasState:
        return self.snapshots.aliases.read()

    def title(self) -> str:
        with self.served.hold() as source:
            return self.served.items([KEY], source.name)[KEY].title


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    made.served.close()


def test_what_nobody_holds_is_closed_after_the_swap(worker: Worker) -> None:
    live = worker.served.source
    assert worker.title() == "Live"
    a = worker.goes_to("a")
    assert (worker.title(), is_open(live), is_open(a)) == ("Title in a", False, True)
    again = worker.goes_to("live")
    assert (worker.title(), is_open(a), is_open(again)) == ("Live", False, True)


def test_an_answer_is_resolved_where_it_was_decoded_however_often_the_worker_swaps_meanwhile(worker: Worker) -> None:
    sources = [worker.served.source]
    with worker.served.hold() as first:
        pinned = worker.served.pin([KEY])
        for name in ("a", "b", "live", "a"):
            sources.append(worker.goes_to(name))
        assert pinned.snapshot == first.name
        titles = [worker.served.items([KEY], source.name)[KEY].title for source in sources]
        assert titles == ["Live", "Title in a", "Title in b", "Live", "Title in a"]
        assert sources[3] is sources[0], "what is still open is served again, not opened twice"
        assert sources[4] is sources[1]
    worker.served.close_unheld()
    assert [is_open(source) for source in (sources[0], sources[2], sources[4])] == [False, False, True]


def test_one_that_began_later_does_not_keep_older_ones_open(worker: Worker) -> None:
    live = worker.served.source
    early = worker.served.hold()
    early.__enter__()
    a = worker.goes_to("a")
    with worker.served.hold():
        b = worker.goes_to("b")
        assert (is_open(live), is_open(a), is_open(b)) == (True, True, True)
        early.__exit__(None, None, None)
        worker.served.close_unheld()
        assert (is_open(live), is_open(a), is_open(b)) == (False, True, True)
    worker.served.close_unheld()
    assert (is_open(a), is_open(b)) == (False, True)


def test_pins_name_snapshot_and_generation_that_belong_together_while_swaps_go_on(worker: Worker) -> None:
    live = worker.served.source.reader.state().generation
    wanted = {f"catalogs/default/snapshots/{n}": worker.snapshots.named(n).manifest.generation for n in ("a", "b")}
    wanted[worker.served.source.name] = live
    seen: set[tuple[str, int]] = set()
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            with worker.served.hold():
                pinned = worker.served.pin([KEY])
                time.sleep(0)
                title = worker.served.items([KEY], pinned.snapshot)[KEY].title
                assert title == "Live" or pinned.snapshot.endswith(title[-1])
                seen.add((pinned.snapshot, pinned.view.generation))

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            ask()
        except BaseException as error:
            failures.append(error)

    askers = [threading.Thread(target=guarded) for _ in range(3)]
    for asker in askers:
        asker.start()
    for name in ("a", "b", "live") * 8:
        worker.goes_to(name)
    stopped.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert seen == set(wanted.items())


def test_moves_that_a_newer_one_overtook_are_passed_over_and_none_is_undone(worker: Worker) -> None:
    for name in ("a", "b"):
        worker.snapshots.aliases.move(aliases.serve(worker.snapshots.named(name).target))
    worker.follower.look()
    assert (worker.served.source.target.snapshot, worker.follower.sequence) == ("b", 2)
    worker.snapshots.store.remove_alias(2)
    worker.follower.look()
    assert (worker.served.source.target.snapshot, worker.follower.sequence) == ("b", 2)


def test_what_cannot_be_served_leaves_the_worker_where_it_is_until_it_can(worker: Worker) -> None:
    path = worker.folder / "s" / "a" / "codebooks" / "film.json"
    kept = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(kept[:-1])
    worker.snapshots.aliases.move(aliases.serve(worker.snapshots.named("a").target))
    worker.follower.look()
    assert (worker.served.source.target, worker.follower.sequence) == (EVENTS, 0)
    assert "film.json has" in worker.follower.failure
    path.write_bytes(kept)
    worker.follower.look()
    assert (worker.served.source.target.snapshot, worker.follower.sequence, worker.follower.failure) == ("a", 1, "")


def test_a_worker_refuses_to_start_on_what_is_damaged_foreign_or_gone(worker: Worker) -> None:
    def begin(fingerprints: dict[str, str]) -> None:
        AliasFollower(worker.snapshots, worker.folder / "c", fingerprints, "w").begin()

    worker.goes_to("b")  # so that the live catalog is closed in this process
    for target in (EVENTS, worker.snapshots.named("a").target):
        worker.snapshots.aliases.move(aliases.serve(target))
        with pytest.raises(MismatchError):
            begin({**FINGERPRINTS, "film": "other"})
    (worker.folder / "s" / "a" / "manifest.json").unlink()
    with pytest.raises(Exception, match="not found"):
        begin(FINGERPRINTS)


def test_a_worker_refuses_to_start_on_a_damaged_trie(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    catalog.compact()
    catalog.close()
    found = Snapshots(LocalStore(tmp_path / "s"))
    create_snapshot(tmp_path / "c", found.store, name="a")
    found.aliases.move(aliases.serve(found.named("a").target))
    flip(next((tmp_path / "s" / "a" / "segments").glob("film*")), 0.9)
    with pytest.raises(SnapshotError, match="checksum"):
        AliasFollower(found, tmp_path / "c", FINGERPRINTS, "w").begin()


def test_without_a_catalog_a_worker_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="neo catalog load"):
        AliasFollower(Snapshots(LocalStore(tmp_path / "s")), tmp_path / "c", FINGERPRINTS, "w").begin()


def test_closing_closes_what_was_held_too(worker: Worker) -> None:
    served = ServedCatalog(worker.served.source)
    with served.hold() as source:
        served.close()
        assert not is_open(source)
    worker.served = ServedCatalog(worker.follower._open(EVENTS))
