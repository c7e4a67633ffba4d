"""Snapshots of a catalog that is written meanwhile, by real processes; damage of every kind; killed half-way."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from neo_runtime.catalog import catalog as catalog_module
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.store import Store
from neo_runtime.errors import CatalogError, ConflictError, SnapshotError
from neo_runtime.snapshot import aliases, diff
from neo_runtime.snapshot.aliases import EVENTS, Target
from neo_runtime.snapshot.compare import compare
from neo_runtime.snapshot.create import create_snapshot
from neo_runtime.snapshot.manifest import MANIFEST
from neo_runtime.snapshot.remote import RemoteStore
from neo_runtime.snapshot.restore import FETCHED, KEPT_FETCHED, REPLACED, on_this_machine, restore
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore, SnapshotStore
from neo_runtime.snapshot.verify import verify
from neo_runtime.trie.predicate import Condition, Predicate, Range
from neo_runtime.types import ItemKey
from tests.kit import tiny
from tests.kit.snapshots import Changer, flip, homes, inside, overwrite, sign_again

SPAWN = multiprocessing.get_context("spawn")


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


def problems(folder: Path) -> list[str]:
    return verify(folder, Snapshots(LocalStore(folder.parent)).named(folder.name).manifest, quiet, deep=True)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """The folder of a snapshot, of a catalog with base segments and a log on top."""
    catalog = tiny.catalog(tmp_path / "c", 20)
    catalog.compact()
    catalog.apply([tiny.upsert("film/f30", time=2), tiny.delete("book/b3", time=2)])
    catalog.close()
    create_snapshot(tmp_path / "c", LocalStore(tmp_path / "s"), name="a")
    return tmp_path / "s" / "a"


def create_many(catalog: Path, root: Path, count: int) -> None:
    for _ in range(count):
        create_snapshot(catalog, LocalStore(root), name=f"s{time.time_ns()}")


def test_taken_while_a_writer_commits_and_compacts_each_holds_exactly_one_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "COMPACT_LEAVES", 5)  # so that bases come and go while they are copied
    catalog = tiny.catalog(tmp_path / "c", 20)
    changer, root = Changer(catalog), tmp_path / "s"
    changer.start()
    other = SPAWN.Process(target=create_many, args=(tmp_path / "c", root, 25))
    other.start()
    other.join(100)
    changer.stop()
    assert other.exitcode == 0
    folders = list(root.glob("s*"))
    assert len(folders) == 25
    generations = set()
    for folder in folders:
        generation, held = inside(folder)
        assert held == changer.generations[generation]
        assert problems(folder) == []
        generations.add(generation)
    assert len(generations) > 10, "commits went on between the snapshots"
    catalog.close()


def test_a_snapshot_has_no_log_left_to_read(taken: Path) -> None:
    reader, _ = open_reader(taken, frozen=True)
    with closing(reader.store) as store:
        with store.read() as txn:
            base = txn.base()
            assert (txn.entries("log"), base and base.generation, txn.state().generation) == (0, 2, 2)
        assert [len(view.delta) for view in reader.view().types.values()] == [0, 0, 0]


def test_bitmaps_of_named_filters_come_along(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 20).close()
    named = Predicate(must=(Condition("year", Range(2020)),))
    catalog = Catalog.open(tmp_path / "c", named=[named])
    catalog.compact()
    catalog.apply([tiny.upsert("film/f30", time=2)])
    catalog.close()
    create_snapshot(tmp_path / "c", LocalStore(tmp_path / "s"), name="a")
    reader, _ = open_reader(tmp_path / "s" / "a", frozen=True)
    with closing(reader.store):
        assert [set(view.base.filters.prepared) for view in reader.view().types.values()] == [{named}] * 3


def test_a_snapshot_shares_no_file_with_the_catalog(taken: Path) -> None:
    live = taken.parents[1] / "c"
    before = inside(taken)
    for path in [*(live / "segments").iterdir(), live / "data.mdb"]:
        flip(path, 0.5)
    assert (inside(taken), problems(taken)) == (before, [])


def test_a_damaged_segment_gets_into_no_snapshot(tmp_path: Path) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    catalog.compact()
    catalog.apply([tiny.upsert("film/f30", time=2)])  # so that the segment would be folded into another one
    catalog.close()
    flip(next((tmp_path / "c" / "segments").glob("film-*")), 0.5)
    with pytest.raises(CatalogError, match=r"c/segments/film-\d+\.seg is damaged"):
        create_snapshot(tmp_path / "c", LocalStore(tmp_path / "s"), name="a")
    assert list((tmp_path / "s").iterdir()) == []


def test_killed_while_it_copies_there_is_no_snapshot_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 300, types={"film": (64, 64, 64), "book": (64, 64), "artist": (8, 8, 8, 8)}).close()
    root, rng, left = tmp_path / "s", random.Random(0), 0
    for _ in range(6):
        other = SPAWN.Process(target=create_many, args=(tmp_path / "c", root, 100))
        other.start()
        known = len(list(root.glob("s*")))
        while not list(root.glob(".staged-*")) and other.is_alive():
            pass
        time.sleep(rng.random() * 0.02)
        other.kill()
        other.join()
        assert len(list(root.glob("s*"))) >= known
        left += len(list(root.glob(".staged-*")))
    assert left, "at least one was cut short"
    found, broken = Snapshots(LocalStore(root)).all()
    assert broken == {}
    for snapshot in found:
        assert problems(root / snapshot.manifest.name) == []
    create_snapshot(tmp_path / "c", LocalStore(root), name="after")
    assert [path.name for path in root.glob(".*")] == []


FILES = ("data.mdb", "segments/film-2.seg", "segments/book-2.seg", "codebooks/film.json", "codebooks/film.safetensors")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", [0.0, 0.33, 0.5, 0.99])
def test_a_flipped_byte_is_found(taken: Path, file: str, place: float) -> None:
    assert problems(taken) == []
    flip(taken / file, place)
    assert problems(taken) == [f"{file} does not have the checksum that the manifest names"]


@pytest.mark.parametrize("file", FILES)
def test_a_missing_or_cut_or_foreign_file_is_found(taken: Path, file: str) -> None:
    content = (taken / file).read_bytes()
    (taken / file).unlink()
    assert problems(taken) == [f"{file} cannot be read: No such file or directory"]
    overwrite(taken / file, content[:-1])
    assert problems(taken) == [f"{file} has {len(content) - 1:,} bytes instead of {len(content):,}"]
    overwrite(taken / file, content)
    (taken / "segments" / "extra.seg").touch()
    assert problems(taken) == ["segments/extra.seg is not in the manifest"]


def put_foreign_codebook(folder: Path) -> None:
    other = tiny.codebooks({"film": (8, 8, 8), "book": (6, 6), "artist": (4, 4, 4)})["artist"]
    (folder / "codebooks" / "artist.json").unlink()
    (folder / "codebooks" / "artist.safetensors").unlink()
    other.save(folder / "codebooks")


def put_older_segment(folder: Path) -> None:
    """A trie of the same catalog that lacks its newest film."""
    older = folder.parents[1] / "older"
    catalog = tiny.catalog(older, 0)
    catalog.apply([tiny.upsert(item) for item in tiny.items(20) if item != "film/f7"])
    catalog.compact()
    catalog.close()
    overwrite(folder / "segments" / "film-2.seg", (older / "segments" / "film-1.seg").read_bytes())


def edited(edit: Callable[[Store], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "data.mdb").chmod(0o644)
        with closing(Store(folder, writable=True)) as store:
            edit(store)
        for name in ("lock.mdb", "writer.lock"):
            (folder / name).unlink()

    return change


@edited
def forget_a_sid(store: Store) -> None:
    with store.write() as txn:
        sid = next(sid for sid, _ in txn.sids("artist"))
        txn.put_bearers("artist", sid, [])


@edited
def forget_an_item(store: Store) -> None:
    with store.write() as txn:
        txn._delete("items", b"film\0f4")


@edited
def swap_two_items(store: Store) -> None:
    with store.write() as txn:
        (one, on_one), (other, on_other) = list(txn.sids("film"))[:2]
        txn.put_bearers("film", one, on_other)
        txn.put_bearers("film", other, on_one)


@edited
def promise_a_log(store: Store) -> None:
    """A later generation, that neither base nor log reaches."""
    with store.write() as txn:
        state = txn.state()
        state.generation += 1
        txn.put_state(state)


@edited
def move_an_offset(store: Store) -> None:
    with store.write() as txn:
        txn.put_offset("neo.catalog.items", 0, 5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (put_foreign_codebook, "codebooks"),
        (put_older_segment, "film: the trie holds"),
        (forget_a_sid, "artist: the trie holds"),
        (forget_an_item, "items are counted|items, 20 are stored|20 items are stored"),
        (swap_two_items, "film: the trie holds"),
        (promise_a_log, "cannot be read"),
        (move_an_offset, "the manifest says offsets"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_contents_that_contradict_each_other_are_found_behind_right_checksums(
    taken: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(taken)
    sign_again(taken)
    found = problems(taken)
    assert found
    assert any(part in " ".join(found) for part in said.split("|")), found


def test_damaged_pages_behind_right_checksums_are_found(taken: Path) -> None:
    content = bytearray((taken / "data.mdb").read_bytes())
    for page in range(2, len(content) // 4_096):
        content[page * 4_096 : page * 4_096 + 16] = b"\xff" * 16
    overwrite(taken / "data.mdb", bytes(content))
    sign_again(taken)
    assert problems(taken)[0].startswith("data.mdb: ")


def test_a_damaged_snapshot_is_not_promoted_restored_or_opened(taken: Path) -> None:
    found = Snapshots(LocalStore(taken.parent))
    snapshot = found.named("a")
    flip(taken / "segments" / "film-2.seg", 0.5)
    with pytest.raises(SnapshotError, match="damaged"):
        found.check(snapshot.target, quiet)
    with pytest.raises(SnapshotError, match="damaged"):
        on_this_machine(found.store, snapshot, taken.parents[1] / "c")
    with pytest.raises(SnapshotError, match="damaged"):
        restore(found.store, snapshot, taken.parents[1] / "new", quiet)
    assert not (taken.parents[1] / "new" / "data.mdb").exists()


def test_what_differs_between_two_states_is_counted_once_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "_PIECE", 7)
    catalog, found = tiny.catalog(tmp_path / "c", 20), Snapshots(LocalStore(tmp_path / "s"))
    catalog.close()
    create_snapshot(tmp_path / "c", found.store, name="a")
    before = inside(tmp_path / "s" / "a")[1]
    catalog = Catalog.open(tmp_path / "c")
    changer = Changer(catalog, pause_s=0)
    changer.start()
    while len(changer.generations) < 40:
        time.sleep(0.01)
    changer.stop()
    catalog.close()
    create_snapshot(tmp_path / "c", found.store, name="b")
    after = inside(tmp_path / "s" / "b")[1]
    for old, new, one, other in (("a", "b", before, after), ("b", "a", after, before), ("a", "a", before, before)):
        targets = [found.named(name).target for name in (old, new)]
        differences = compare(found, tmp_path / "c", targets[0], targets[1], quiet)
        for kind, difference in differences.items():
            was = {key.id: sid for key, (sid, _) in one.items() if key.type == kind}
            now = {key.id: sid for key, (sid, _) in other.items() if key.type == kind}
            wanted = {
                "added": sorted(now.keys() - was.keys()),
                "removed": sorted(was.keys() - now.keys()),
                "moved": sorted(item for item in was.keys() & now.keys() if was[item] != now[item]),
            }
            assert (difference.before, difference.after) == (len(was), len(now))
            assert [difference.added, difference.removed, difference.moved] == [len(ids) for ids in wanted.values()]
            assert difference.examples == {name: ids[:5] for name, ids in wanted.items()}
        assert bool(differences) == (old != new)


def test_restored_it_is_a_live_catalog_of_its_own_that_is_written_further(taken: Path) -> None:
    store, folder = LocalStore(taken.parent), taken.parents[1] / "new"
    snapshot = Snapshots(store).named("a")
    catalog_id = restore(store, snapshot, folder, quiet)
    catalog = Catalog.open(folder)
    assert homes(catalog.reader) == inside(taken)
    assert catalog.reader.description.catalog_id == catalog_id != snapshot.manifest.catalog_id
    catalog.apply([tiny.upsert("film/f99", time=3)])
    assert ItemKey("film", "f99") in homes(catalog.reader)[1]
    catalog.close()
    with pytest.raises(CatalogError, match="--replace"):
        restore(store, snapshot, folder, quiet)
    restore(store, snapshot, folder, quiet, replace=True)
    assert inside(folder) == inside(taken)
    aside = next((folder / REPLACED).iterdir())
    assert ItemKey("film", "f99") in inside(aside)[1], "what was there is still there"


def test_a_catalog_that_is_being_written_is_not_replaced(taken: Path) -> None:
    catalog = Catalog.open(taken.parents[1] / "c")
    store = LocalStore(taken.parent)
    with pytest.raises(CatalogError, match="another process is writing"):
        restore(store, Snapshots(store).named("a"), taken.parents[1] / "c", quiet, replace=True)
    catalog.close()


@pytest.mark.parametrize("url", ["memory://{}/s", "local://{}/s"])
def test_on_a_store_without_renames_everything_works_as_on_a_disk(tmp_path: Path, url: str) -> None:
    catalog = tiny.catalog(tmp_path / "c", 20)
    catalog.compact()
    catalog.close()
    found = Snapshots(RemoteStore(url.format(tmp_path)))
    manifest = create_snapshot(tmp_path / "c", found.store, labels={"why": "test"})
    assert found.store.names() == [manifest.name]
    snapshot = found.named(manifest.name)
    assert snapshot.manifest == manifest
    folder = on_this_machine(found.store, snapshot, tmp_path / "c")
    assert folder.parent == tmp_path / "c" / FETCHED
    with closing(open_reader(tmp_path / "c")[0].store) as store, store.read() as txn:
        assert inside(folder)[0] == txn.state().generation
    assert restore(found.store, snapshot, tmp_path / "new", quiet)
    assert inside(tmp_path / "new") == inside(folder)
    with pytest.raises(SnapshotError, match="already"):
        create_snapshot(tmp_path / "c", found.store, name=manifest.name)
    found.aliases.move(aliases.serve(snapshot.target))
    for number in range(KEPT_FETCHED + 1):
        create_snapshot(tmp_path / "c", found.store, name=f"n{number}")
        on_this_machine(found.store, found.named(f"n{number}"), tmp_path / "c")
    assert len(list((tmp_path / "c" / FETCHED).iterdir())) == KEPT_FETCHED
    going = [one for one, why in found.prunable(keep=1, younger_than=None) if not why]
    assert len(found.prune(going, quiet)) == KEPT_FETCHED
    assert manifest.name in found.store.names()
    assert not (tmp_path / "c" / "snapshots").exists() or not list((tmp_path / "c" / "snapshots").iterdir())


def test_a_remote_file_that_arrives_damaged_is_refused(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 5).close()
    found = Snapshots(RemoteStore(f"local://{tmp_path}/s"))
    create_snapshot(tmp_path / "c", found.store, name="a")
    flip(tmp_path / "s" / "a" / "data.mdb", 0.5)
    with pytest.raises(SnapshotError, match=r"data\.mdb of snapshot a is damaged"):
        on_this_machine(found.store, found.named("a"), tmp_path / "c")
    assert list((tmp_path / "c" / FETCHED).iterdir()) == []


def test_a_remote_folder_without_its_manifest_does_not_exist(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 5).close()
    store: SnapshotStore = RemoteStore(f"local://{tmp_path}/s")
    create_snapshot(tmp_path / "c", store, name="a")
    (tmp_path / "s" / "a" / MANIFEST).unlink()
    assert (store.names(), store.manifest("a")) == ([], None)
    create_snapshot(tmp_path / "c", store, name="a")
    assert store.names() == ["a"]


def race(root: Path, name: str, tries: int) -> None:
    known = Snapshots(LocalStore(root)).aliases
    won = 0
    for number in range(tries):
        try:
            state = known.read()
            known.move(aliases.serve(Target(f"{name}{number}", "x")), expected=state.sequence)
            won += 1
        except ConflictError:
            pass
    (root / f"won-{name}").write_text(str(won))


def test_two_processes_that_move_aliases_at_once_lose_no_move_and_take_no_number_twice(tmp_path: Path) -> None:
    (tmp_path / "aliases").mkdir()
    racers = [SPAWN.Process(target=race, args=(tmp_path, name, 150)) for name in ("x", "y")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(100)
        assert racer.exitcode == 0
    won = [int((tmp_path / f"won-{name}").read_text()) for name in ("x", "y")]
    final = Snapshots(LocalStore(tmp_path)).aliases
    assert final.read().sequence == sum(won)
    assert min(won) > 0
    assert final.read().live.target != EVENTS
