"""LMDB under pressure, in real processes: maps that grow, disks that are full, files that were cut off or copied."""

from __future__ import annotations

import json
import resource
import shutil
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.store import Store
from neo_runtime.errors import CatalogError
from neo_runtime.ingest import eventfile
from tests.kit import changes, fold, processes, stores, tiny
from tests.kit.workers import CatalogWorker, catalog_worker, until

PAGE = 4_096
WITHOUT_END = 10**9


def test_a_map_grows_under_a_writer_and_its_readers_without_a_restart(tmp_path: Path) -> None:
    with closing(Store(tmp_path, writable=True, map_size=1 << 20)) as made:
        made.transact(lambda txn: stores.put(txn, 0))
    readers = [stores.start("follow", tmp_path, 100) for _ in range(2)]
    for reader in readers:
        stores.wait_ready(reader)
    writer = stores.start("write", tmp_path, 1 << 20, 60, 100)
    (wrote,) = stores.finished(writer)
    assert wrote["map_bytes"] >= 16 << 20  # type: ignore[operator]
    for reader in readers:
        (read,) = stores.finished(reader)
        assert read["maps"] > 2, "met no growth"  # type: ignore[operator]


def copied_while_written(source: Path, target: Path, reader: Store, commits: int) -> None:
    """As `cp` does it, with a pause in the middle for some commits: the pages after it are of later generations."""
    target.mkdir()
    with (source / "data.mdb").open("rb") as old, (target / "data.mdb").open("wb") as new:
        new.write(old.read(4 * PAGE))
        before = stores.generation_of(reader)
        until(lambda: stores.generation_of(reader) >= before + commits, "commits", lambda: "")
        shutil.copyfileobj(old, new)


def test_a_file_copied_while_its_writer_commits_is_refused(tmp_path: Path) -> None:
    live = tmp_path / "live"
    Store(live, writable=True).close()
    writer = stores.start("write", live, 1 << 30, 0, WITHOUT_END)
    copies, safe = [tmp_path / f"copy{n}" for n in range(8)], [tmp_path / f"safe{n}" for n in range(3)]
    try:
        with closing(Store(live, writable=False)) as reader:
            until(lambda: stores.generation_of(reader) > 5, "a writer", lambda: str(writer.poll()))
            for commits, copy in enumerate(copies):
                copied_while_written(live, copy, reader, commits)
            for folder in safe:
                folder.mkdir()
                reader.copy_to(folder)
    finally:
        writer.kill()
        writer.communicate()
    opened = stores.finished(stores.start("open", *copies))
    assert len(opened) == 2 * len(copies)
    assert all("refused" in found for found in opened), opened
    for found in stores.finished(stores.start("open", *safe)):
        assert len(found["values"]) == 1, found  # type: ignore[arg-type]
    (after_kill, as_writer) = stores.finished(stores.start("open", live))
    assert after_kill["values"] == as_writer["values"], "killed, but the same file"


def test_a_copy_of_a_closed_file_and_a_moved_one_are_welcome(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a", writable=True)) as store:
        store.transact(lambda txn: stores.put(txn, 7))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "c")
    for folder in ("b", "c"):
        with closing(Store(tmp_path / folder, writable=True)) as store:
            assert stores.generation_of(store) == 7


def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "whole", writable=True)) as store:
        for generation in (1, 2, 3):
            store.transact(lambda txn, n=generation: stores.put(txn, n))  # type: ignore[misc]
    content = (tmp_path / "whole" / "data.mdb").read_bytes()
    folders = []
    for size in range(PAGE, len(content), PAGE):
        folders.append(tmp_path / f"{size}")
        folders[-1].mkdir()
        (folders[-1] / "data.mdb").write_bytes(content[:size])
    found = stores.finished(stores.start("open", tmp_path / "whole", *folders))  # a SIGBUS would end it early
    assert len(found) == 2 * (1 + len(folders))
    whole = found[0]["rows"]
    assert sum("refused" in one for one in found) > len(folders)
    assert all("refused" in one or (one["rows"], one["values"]) == (whole, [3]) for one in found), found


def test_the_writers_lock_ends_with_its_process(tmp_path: Path) -> None:
    writer = stores.start("write", tmp_path, 1 << 30, 0, WITHOUT_END)
    with closing(reader_of(tmp_path)) as reader:
        until(lambda: stores.generation_of(reader) > 3, "a writer", lambda: str(writer.poll()))
        with pytest.raises(CatalogError, match="another process is writing"):
            Store(tmp_path, writable=True)
        writer.kill()
        writer.communicate()
        before = stores.generation_of(reader)
    (wrote,) = stores.finished(stores.start("write", tmp_path, 1 << 30, 0, before + 1))
    assert wrote
    with closing(Store(tmp_path, writable=False)) as reader:
        assert stores.generation_of(reader) == before + 1


def reader_of(folder: Path) -> Store:
    """Once the writer has made it."""
    opened: list[Store] = []

    def is_open() -> bool:
        try:
            opened.append(Store(folder, writable=False))
        except CatalogError:
            return False
        return True

    until(is_open, "a file", lambda: "")
    return opened[0]


def test_a_killed_reader_lets_its_slot_go(tmp_path: Path) -> None:
    with closing(Store(tmp_path, writable=True)) as store:
        store.transact(lambda txn: stores.put(txn, 1))
        reader = stores.start("hold", tmp_path)
        stores.wait_ready(reader)
        for generation in range(2, 5):
            store.transact(lambda txn, n=generation: stores.put(txn, n))  # type: ignore[misc]
        assert (store.usage().readers, store.usage().oldest_reader_commits) == (1, 3)
        reader.kill()
        reader.communicate()
        assert store.usage().readers == 1, "LMDB does not notice"
        assert store.clear_stale_readers() == 1
        assert store.usage().readers == 0


def test_a_compaction_without_room_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    made = tiny.catalog(tmp_path / "c")
    made.compact()
    before = sorted(path.name for path in (tmp_path / "c" / "segments").iterdir())
    made.apply([tiny.upsert("film/late", time=9)])
    made.close()
    full, roomy = stores.finished(stores.start("compact-without-room", tmp_path / "c"))
    assert "make room" in str(full["refused"])
    assert full["files"] == before
    assert roomy["generation"] == 2
    assert roomy["files"] != before


def limit_files(worker: CatalogWorker, size: int) -> None:
    """No file of the worker may grow beyond `size`: to LMDB the same as a full disk, and no root needed to make one."""
    assert worker.process is not None
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def gauge(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_full_disk_stops_consumption_with_nothing_half_applied_and_it_goes_on_by_itself(
    model_folder: Path, tmp_path: Path
) -> None:
    said = changes.random_changes(5, 3_000, tombstones=False)
    lines = [changes.line(change) for change in said]
    port = processes.free_port()
    with catalog_worker(tmp_path, model_folder, max_batch="20", metrics_port=str(port)) as worker:
        worker.start()
        data, events = worker.catalog / "data.mdb", worker.catalog / eventfile.NAME
        limit_files(worker, data.stat().st_size + 20 * PAGE + 100)  # not a whole page: LMDB then says EIO
        eventfile.append(events, lines)
        worker.wait(lambda: worker.logged("waiting for room, nothing is lost"), "a full disk")
        assert gauge(port, "neo_catalog_writable") == 0
        stopped_at = worker.reader.offsets()[eventfile.TOPIC, 0]
        assert_prefix(worker, said, lines, stopped_at)
        limit_files(worker, data.stat().st_size + 60 * PAGE)  # some room: goes on, and stops again
        worker.wait(lambda: worker.reader.offsets()[eventfile.TOPIC, 0] > stopped_at, "progress")
        until(lambda: gauge(port, "neo_catalog_headroom_bytes") > 0, "metrics", worker.log)

        limit_files(worker, resource.RLIM_INFINITY)
        worker.read_up_to({(eventfile.TOPIC, 0): events.stat().st_size})
        fold.assert_equals_fold(worker.reader, fold.Fold(said))
        until(lambda: gauge(port, "neo_catalog_writable") == 1, "a gauge that says so", worker.log)
        assert worker.stop() == 0, worker.log()
        assert "Traceback" not in worker.log()


def assert_prefix(worker: CatalogWorker, said: list[changes.Change], lines: list[bytes], offset: int) -> None:
    """Exactly the lines before `offset` are applied."""
    end, applied = 0, 0
    while end < offset:
        end, applied = end + len(lines[applied]) + 1, applied + 1
    assert end == offset, "in the middle of a line"
    assert 0 < applied < len(said)
    fold.assert_equals_fold(worker.reader, fold.Fold(said[:applied]))


def test_what_was_copied_at_work_is_verified_and_taken_on_request(tmp_path: Path) -> None:
    made = tiny.catalog(tmp_path / "c")
    shutil.copytree(tmp_path / "c", tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock", "lock.mdb"))
    made.close()
    with pytest.raises(CatalogError, match="copied while its writer was at work"):
        Catalog.open(tmp_path / "copy")
    refused = processes.neo("catalog", "verify", "--catalog", str(tmp_path / "copy"), "--json")
    assert refused.returncode == 1
    assert "copied while" in refused.stdout
    accepted = processes.neo("catalog", "verify", "--accept", "--catalog", str(tmp_path / "copy"))
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    with closing(Catalog.open(tmp_path / "copy")) as copy:
        assert len(copy.reader.view().types["film"]) == 20
        info = processes.neo("catalog", "info", "--json", "--catalog", str(tmp_path / "copy"))
    found = json.loads(info.stdout)
    assert {table["table"]: table["entries"] for table in found["tables"]}["items"] == 60
    assert found["usage"]["headroom_bytes"] > 0
