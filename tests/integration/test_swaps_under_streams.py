"""Promote, roll back and promote live again while clients stream from several workers and the catalog changes.

No stream ends early, every span is valid in the snapshot and generation that it names, and all workers arrive.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.client import Finish, ItemSpan, NeoClient, Start, generate_request, rank_request
from neo_runtime.client.errors import CallError, to_call_error
from neo_runtime.snapshot.aliases import Alias
from neo_runtime.snapshot.create import create_snapshot
from neo_runtime.snapshot.restore import restore
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_admin_service_pb2 as pb
from neo_runtime.v1 import catalog_admin_service_pb2_grpc as rpc
from tests.kit import processes, tiny
from tests.kit.snapshots import Changer, Homes, inside

WORKERS = 2


@dataclass
class Fleet:
    """Workers over one catalog and one set of snapshots, and the writer of that catalog."""

    folder: Path
    catalog: Catalog
    addresses: list[str] = field(default_factory=list)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "catalog" / "snapshots")

    def neo(self, *arguments: str, code: int = 0) -> Any:
        """`neo snapshot …`, that waits for all workers where it moves an alias."""
        wait = (
            ["--wait", "20"]
            if arguments[0] in ("promote", "rollback") and not {"--dry-run", "--wait"} & {*arguments}
            else []
        )
        workers = [part for address in self.addresses for part in ("--worker", address)] if wait else []
        env = {"NEO_CATALOG": str(self.folder / "catalog")}
        done = processes.neo("snapshot", *arguments, *wait, *workers, "--json", env=env)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def served(self) -> list[str]:
        """What every worker says it serves, the last part of the name."""
        names = []
        for address in self.addresses:
            with NeoClient(address) as client:
                names.append(client.serving_info().catalog.snapshot.rpartition("/")[-1])
        return names


@contextmanager
def fleet(folder: Path, workers: int = WORKERS, **settings: str) -> Iterator[Fleet]:
    catalog = tiny.catalog(folder / "catalog", 20)
    tiny.model().save(folder / "model")
    made = Fleet(folder, catalog)
    with ExitStack() as stack:
        for number in range(workers):
            own = folder / f"worker-{number}"
            own.mkdir()
            worker = processes.serving(folder / "catalog", folder / "model", own, instance=f"w{number}", **settings)
            made.addresses.append(stack.enter_context(worker))
        yield made
        made.catalog.close()


@dataclass(frozen=True)
class Seen:
    """One item of an answer, and where the answer says that it is from."""

    snapshot: str
    generation: int
    key: ItemKey
    title: str
    codes: tuple[int, ...]


class Streams(threading.Thread):
    """One client that asks one worker for stream after stream, and for a list between them."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__()
        self.address, self.seed = address, seed
        self.stopped = threading.Event()
        self.seen: list[Seen] = []
        self.finished, self.swapped_inside = 0, 0
        self.failures: list[str] = []

    def run(self) -> None:
        with NeoClient(self.address) as client:
            while not self.stopped.is_set():
                self.seed += 1
                try:
                    self._stream(client)
                    self._rank(client)
                except CallError as error:
                    self.failures.append(f"{error} {error.reason}")

    def _stream(self, client: NeoClient) -> None:
        request = generate_request(
            task="recommend", item_type="film", output="items", temperature=1.5, seed=self.seed, beam_width=2,
            include_sids=True, alternatives=1, max_items=6,
        )  # fmt: skip
        events = list(client.generate(request))
        assert isinstance(events[0], Start)
        assert isinstance(events[-1], Finish), "a stream that ends without its end"
        spans = [event for event in events if isinstance(event, ItemSpan)]
        for span in spans:
            for row in (span.ranked, *span.alternatives):
                self.seen += [Seen(span.snapshot, span.generation, i.key, i.title, row.codes) for i in row.items]
        self.swapped_inside += len({span.snapshot for span in spans} | {events[0].snapshot}) > 1
        self.finished += 1

    def _rank(self, client: NeoClient) -> None:
        answer = client.rank(rank_request("book", limit=3, include_sids=True))
        for row in answer.results:
            self.seen += [Seen(answer.snapshot, answer.generation, i.key, i.title, row.codes) for i in row.items]


@contextmanager
def streaming(fleet: Fleet, per_worker: int = 2) -> Iterator[list[Streams]]:
    clients = [Streams(a, 1_000 * n) for n, a in enumerate(fleet.addresses * per_worker)]
    for client in clients:
        client.start()
    yield clients
    for client in clients:
        client.stopped.set()
    for client in clients:
        client.join()


def assert_valid(seen: list[Seen], live: dict[int, Homes], snapshots: dict[str, tuple[int, Homes]]) -> Counter[str]:
    """Every item is on its SID in the state that its answer names; of a snapshot, also by its title of then."""
    books, counts = tiny.codebooks(), Counter[str]()
    for one in seen:
        name = one.snapshot.rpartition("/")[-1]
        counts["live" if name.startswith("live-") else name] += 1
        sid = books[one.key.type].space.pack_one(one.codes)
        if name.startswith("live-"):
            assert live[one.generation][one.key][0] == sid, one
        else:
            generation, homes = snapshots[name]
            assert one.generation == generation
            assert homes[one.key] == (sid, one.title), one
    return counts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_swaps_under_streams_drop_nothing_and_every_span_is_valid_where_it_says(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        changer = Changer(made.catalog, pause_s=0.05)
        changer.start()
        for name in ("a", "b"):
            create_snapshot_elsewhere(made, name)
            time.sleep(0.5)
        with streaming(made) as clients:
            for _ in range(2):
                moves: list[tuple[list[str], str]] = [
                    (["promote", "a", "--yes"], "a"),
                    (["promote", "b", "--yes"], "b"),
                    (["rollback", "--yes"], "a"),
                    (["promote", "live", "--yes"], "live"),
                ]
                for arguments, name in moves:
                    made.neo(*arguments)
                    served = made.served()
                    assert all(one == name or one.startswith(f"{name}-") for one in served), (served, name)
                    time.sleep(0.3)
        changer.stop()
        taken = {name: inside(tmp_path / "catalog" / "snapshots" / name) for name in ("a", "b")}
    assert [client.failures for client in clients] == [[]] * len(clients)
    counts = assert_valid([one for client in clients for one in client.seen], changer.generations, taken)
    assert min(counts["live"], counts["a"], counts["b"]) > 100, counts
    assert sum(client.finished for client in clients) > 100
    assert sum(client.swapped_inside for client in clients) > 0, "a swap came while streams were open"


def create_snapshot_elsewhere(made: Fleet, name: str) -> None:
    """In another process: this one has the catalog open already."""
    made.neo("create", "--name", name)


def test_a_canary_reaches_the_drawn_workers_alone_and_then_all(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        create_snapshot_elsewhere(made, "a")
        target = Snapshots(made.store).named("a").target

        def drawn(share: float) -> list[str]:
            return ["a" if Alias(target, share).of(f"w{n}") == target else "live" for n in range(WORKERS)]

        share = next(s / 100 for s in range(1, 100) if len(set(drawn(s / 100))) == 2)
        made.neo("promote", "a", "--share", str(share), "--yes")
        assert [name.partition("-")[0] for name in made.served()] == drawn(share)
        made.neo("promote", "a", "--yes")
        assert made.served() == ["a", "a"]


def test_a_pinned_worker_does_not_see_events_and_follows_them_again_once_live_is_promoted(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=1) as made, NeoClient(made.addresses[0]) as client:
        create_snapshot_elsewhere(made, "a")
        made.neo("rollback", "--yes")
        made.catalog.apply([tiny.upsert("film/new", time=9), tiny.delete("film/f1", time=9)])
        answer = client.rank(rank_request("film", limit=50))
        names = {item.key.id for row in answer.results for item in row.items}
        assert ("new" in names, "f1" in names, answer.snapshot) == (False, True, "catalogs/default/snapshots/a")
        assert client.item(ItemKey("film", "f1")).catalog.snapshot == "catalogs/default/snapshots/a"
        assert client.catalog().state.snapshot == "catalogs/default/snapshots/a"
        made.neo("promote", "live", "--yes")
        answer = client.rank(rank_request("film", limit=50))
        names = {item.key.id for row in answer.results for item in row.items}
        assert ("new" in names, "f1" in names) == (True, False)
        assert answer.snapshot == made.catalog.reader.snapshot


def test_what_does_not_fit_is_not_swapped_to_and_the_worker_says_why(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=1) as made, NeoClient(made.addresses[0]) as client:
        foreign = tiny.catalog(tmp_path / "foreign", 5, types={"film": (8, 8), "book": (6, 6), "artist": (4, 4, 4, 4)})
        foreign.close()
        create_snapshot(tmp_path / "foreign", made.store, name="foreign")
        create_snapshot_elsewhere(made, "a")
        made.neo("promote", "a", "--yes")
        late = made.neo("promote", "foreign", "--yes", "--wait", "3", "--worker", made.addresses[0], code=1)["late"]
        assert "do not belong together" in late[made.addresses[0]]
        assert made.served() == ["a"]
        info = client.serving_info()
        assert (info.alias_sequence, "do not belong together" in info.swap_failure) == (1, True)
        said = processes.neo("status", "--address", made.addresses[0])
        assert "a newer move of the aliases is not served" in said.stderr
        made.neo("rollback", "--yes")
        assert (client.serving_info().alias_sequence, client.serving_info().swap_failure) == (3, "")


def test_a_worker_that_starts_serves_what_is_pinned_or_refuses(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=1) as made:
        create_snapshot_elsewhere(made, "a")
        made.neo("promote", "a", "--yes")
        own = tmp_path / "second"
        own.mkdir()
        with processes.serving(tmp_path / "catalog", tmp_path / "model", own) as address, NeoClient(address) as client:
            assert client.serving_info().catalog.snapshot == "catalogs/default/snapshots/a"
            assert client.serving_info().alias_sequence == 1
        made.store.remove("a")
        arguments = ("--catalog", str(tmp_path / "catalog"), "--model", str(tmp_path / "model"))
        done = processes.neo("serve", *arguments)
        assert (done.returncode, "snapshot 'a' not found" in done.stderr) == (1, True), done.stderr


def test_a_catalog_restored_in_its_place_is_taken_over_by_running_workers(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=1) as made, NeoClient(made.addresses[0]) as client:
        create_snapshot_elsewhere(made, "a")
        made.catalog.apply([tiny.upsert("film/bad", time=9)])
        made.catalog.close()
        snapshot = Snapshots(made.store).named("a")
        catalog_id = restore(made.store, snapshot, tmp_path / "catalog", lambda done, total: None, replace=True)
        until = time.monotonic() + 20
        while client.serving_info().catalog.snapshot != f"catalogs/default/live-{catalog_id}":
            assert time.monotonic() < until, client.serving_info()
            time.sleep(0.05)
        answer = client.rank(rank_request("film", limit=50))
        assert "bad" not in {item.key.id for row in answer.results for item in row.items}
        made.catalog = Catalog.open(tmp_path / "catalog")
        made.catalog.apply([tiny.upsert("film/good", time=9)])
        answer = client.rank(rank_request("film", limit=50))
        assert "good" in {item.key.id for row in answer.results for item in row.items}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker with three snapshots, for calls to its admin service."""
    with fleet(tmp_path_factory.mktemp("alone"), workers=1) as made:
        for name in ("a", "b", "c"):
            create_snapshot_elsewhere(made, name)
        yield made


@pytest.fixture
def admin(alone: Fleet) -> Iterator[rpc.CatalogAdminServiceStub]:
    with grpc.insecure_channel(alone.addresses[0]) as channel:
        yield rpc.CatalogAdminServiceStub(channel)


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    try:
        call()
    except grpc.RpcError as error:
        known = to_call_error(error)
        return known.code.name, known.reason
    raise AssertionError("it was not refused")


def test_admin_lists_finds_promotes_and_rolls_back(alone: Fleet, admin: rpc.CatalogAdminServiceStub) -> None:
    first = admin.ListSnapshots(pb.ListSnapshotsRequest(page_size=2))
    second = admin.ListSnapshots(pb.ListSnapshotsRequest(page_size=2, page_token=first.next_page_token))
    names = [snapshot.name.rpartition("/")[-1] for snapshot in [*first.snapshots, *second.snapshots]]
    assert (sorted(names), second.next_page_token) == (["a", "b", "c"], "")
    by_name = {name: admin.GetSnapshot(pb.GetSnapshotRequest(name=name)).snapshot for name in names}
    assert list(first.snapshots) == [by_name[name] for name in names[:2]]
    assert {stats.item_type: stats.items for stats in by_name["a"].type_stats} == dict.fromkeys(tiny.TYPES, 20)
    promoted = admin.PromoteSnapshot(pb.PromoteSnapshotRequest(name=by_name["a"].name, etag=first.aliases.etag)).aliases
    assert {one.alias: one.snapshot for one in promoted.aliases} == {"live": "a", "previous": ""}
    tried = pb.PromoteSnapshotRequest(name="b", validate_only=True)
    assert admin.PromoteSnapshot(tried).aliases == promoted, "nothing moved"
    stale = pb.PromoteSnapshotRequest(name="b", etag=first.aliases.etag)
    assert refusal(lambda: admin.PromoteSnapshot(stale)) == ("ABORTED", "ALIASES_MOVED")
    admin.PromoteSnapshot(pb.PromoteSnapshotRequest(name="b"))
    back = admin.RollbackCatalog(pb.RollbackCatalogRequest()).aliases
    assert {one.alias: one.snapshot for one in back.aliases} == {"live": "a", "previous": "b"}
    assert admin.GetSnapshot(pb.GetSnapshotRequest(name="previous")).snapshot == by_name["b"]
    again = admin.PromoteSnapshot(pb.PromoteSnapshotRequest(name="-")).aliases
    assert next(one.snapshot for one in again.aliases if one.alias == "live") == ""
    assert again.sequence == promoted.sequence + 3


def test_admin_refuses_with_reasons(admin: rpc.CatalogAdminServiceStub) -> None:
    nothing = pb.PromoteSnapshotRequest(name="nothing")
    assert refusal(lambda: admin.PromoteSnapshot(nothing)) == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND")
    assert refusal(lambda: admin.GetSnapshot(pb.GetSnapshotRequest(name="live"))) == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND")
    none = pb.PromoteSnapshotRequest(name="a", share=0)
    assert refusal(lambda: admin.PromoteSnapshot(none)) == ("FAILED_PRECONDITION", "SNAPSHOT_UNUSABLE")
    for request in (pb.ListSnapshotsRequest(page_token="x"), pb.ListSnapshotsRequest(page_size=-1)):
        assert refusal(lambda request=request: admin.ListSnapshots(request)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    bad = pb.RollbackCatalogRequest(etag="x")
    assert refusal(lambda: admin.RollbackCatalog(bad)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    for path in ("../catalog", "/etc", "a/b", ".."):
        request = pb.GetSnapshotRequest(name=path)
        assert refusal(lambda request=request: admin.GetSnapshot(request)) == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND")
