"""A restored snapshot reads on from the offsets inside: what was published after it is applied once, what came before
is not read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit import brokers, changes, fold, processes
from tests.kit.brokers import Topics
from tests.kit.workers import catalog_worker, kafka_worker

pytestmark = pytest.mark.kafka


def neo(*arguments: str, catalog: Path) -> Any:
    done = processes.neo("snapshot", *arguments, "--json", env={"NEO_CATALOG": str(catalog)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_events_after_the_snapshot_are_applied_after_the_restore(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    log = changes.random_changes(3, 600, tombstones=False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with kafka_worker(tmp_path / "old", model_folder, bootstrap, topics) as worker:
        worker.start()
        brokers.send(bootstrap, topics.items, [changes.record(change) for change in log[:300]])
        worker.catch_up(bootstrap, topics)
        before = brokers.end_offsets(bootstrap, topics.items)
        brokers.send(bootstrap, topics.items, [changes.record(change) for change in log[300:400]])
        taken = neo("create", "--name", "a", catalog=worker.catalog)  # while these are applied
        brokers.send(bootstrap, topics.items, [changes.record(change) for change in log[400:]])
        worker.catch_up(bootstrap, topics)
        assert worker.stop() == 0
    inside = {(offset["topic"], offset["partition"]): offset["next"] for offset in taken["offsets"]}
    ends = brokers.end_offsets(bootstrap, topics.items)
    assert all(before[place] <= inside[place] for place in before)
    assert sum(inside[place] for place in ends) < sum(ends.values()), "there is something to catch up on"

    with kafka_worker(tmp_path / "new", model_folder, bootstrap, topics) as worker:
        root = str(tmp_path / "old" / "catalog" / "snapshots")
        restored = neo("restore", "a", "--yes", "--snapshots", root, catalog=worker.catalog)
        assert (restored["restored"], restored["generation"]) == (True, taken["generation"])
        assert worker.reader.offsets() == inside
        worker.start()
        worker.catch_up(bootstrap, topics)
        fold.assert_holds_fold(worker.reader, fold.Fold(sorted(log, key=lambda change: change.key.type)))
        assert worker.logged("taking over"), "what was assigned after the snapshot stands in the changelog"
        assert worker.stop() == 0


def test_an_event_file_is_read_on_from_the_offset_inside_after_a_restore_in_place(
    model_folder: Path, tmp_path: Path
) -> None:
    lines = [changes.line(change).decode() for change in changes.random_changes(4, 200, tombstones=False)]

    def publish(some: list[str]) -> None:
        done = processes.neo("items", "publish", "-", stdin="\n".join(some) + "\n", env=worker.env)
        assert done.returncode == 0, done.stderr

    with catalog_worker(tmp_path, model_folder) as worker:
        worker.start()
        publish(lines[:100])
        worker.wait(lambda: sum(worker.counters().values()) == 100, "the first hundred applied")
        taken = neo("create", "--name", "a", catalog=worker.catalog)
        publish(lines[100:])
        worker.wait(lambda: sum(worker.counters().values()) == 200, "all applied")
        assert worker.stop() == 0
        worker.reader.store.close()
        del worker.reader
        neo("restore", "a", "--yes", "--replace", catalog=worker.catalog)
        assert worker.reader.state().generation == taken["generation"]
        worker.start()
        worker.wait(lambda: sum(worker.counters().values()) == 200, "the second hundred applied again")
        log = changes.random_changes(4, 200, tombstones=False)
        fold.assert_equals_fold(worker.reader, fold.Fold(log))
