"""A bulk load that ends in its middle: killed, it leaves what nobody takes for a catalog; refused, an empty one."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neo_runtime.catalog import bulkload
from neo_runtime.catalog.bulk_lines import FOLDER
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.store import Store
from neo_runtime.errors import CatalogError, StartupError, StorageError
from neo_runtime.ingest import bulk_aside
from neo_runtime.ingest.bulk import load_files
from neo_runtime.ingest.bulk_parse import Parser
from neo_runtime.types import ItemKey
from tests.kit import dump, tiny

BOOKS = tiny.codebooks()
ITEMS = 60


@pytest.fixture
def file(tmp_path: Path) -> str:
    keys = [ItemKey("film", f"f{number}") for number in range(ITEMS)]
    about = {"title": "T", "event_time": "2026-01-01T00:00:00Z"}
    lines = [{"type": k.type, "id": k.id, "embedding": tiny.vector(k).tolist()} | about for k in keys]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def killed_at(path: Path, file: str, commit: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a process that loads `path` was gone before its commit of that number."""
    commits = 0
    transact = Store.transact

    def counted(self: Store, body: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == commit:
            os._exit(9)
        return transact(self, body)

    child = os.fork()
    if not child:
        monkeypatch.setattr(Store, "transact", counted)
        monkeypatch.setattr(bulkload, "_COMMIT_BYTES", 1)
        with closing(Catalog.create(path, BOOKS)) as catalog:
            load_files(catalog, [file])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_commit_nobody_takes_it_for_a_catalog_and_loading_begins_anew(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    assert not killed_at(whole, file, 1_000, monkeypatch)
    with closing(Catalog.open(whole)) as catalog:
        expected = dump.tables(catalog.store)["items"]
    assert len(expected) == ITEMS
    for commit in range(1, 100):
        path = tmp_path / f"killed {commit}"
        if not killed_at(path, file, commit, monkeypatch):
            break
        if commit > 1:  # before the first there still is the empty one
            with pytest.raises(CatalogError, match="no description"):
                open_reader(path)
            assert not Catalog.exists(path)
        with closing(Catalog.open(path) if commit == 1 else Catalog.create(path, BOOKS)) as catalog:
            assert dump.tables(catalog.store)["items"] == []
            assert commit == 1 or not (path / FOLDER).exists()
            assert load_files(catalog, [file])["upserted"] == ITEMS
            assert dump.tables(catalog.store)["items"] == expected
            assert len(catalog.reader.view().types["film"]) == ITEMS
    assert commit > 3, "items, SIDs and the end are commits of their own"


def test_without_room_the_catalog_is_empty_again_and_can_be_loaded(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Catalog.create(tmp_path / "catalog", BOOKS)) as catalog:
        before = dump.tables(catalog.store)
        with monkeypatch.context() as patched:
            patched.setattr(bulkload._BulkLoad, "_segments", _no_room)
            with pytest.raises(StorageError):
                load_files(catalog, [file])
        assert dump.tables(catalog.store) == before
        assert not (tmp_path / "catalog" / FOLDER).exists()
        assert load_files(catalog, [file])["upserted"] == ITEMS


def test_where_a_process_that_parses_is_killed_nothing_is_loaded_and_it_can_be_loaded_again(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, processes = bulk_aside._started, list[subprocess.Popen[bytes]]()

    def killed(parser: Parser) -> subprocess.Popen[bytes]:
        processes.append(started(parser))
        processes[-1].kill()
        return processes[-1]

    with closing(Catalog.create(tmp_path / "catalog", BOOKS)) as catalog:
        before = dump.tables(catalog.store)
        with monkeypatch.context() as patched:
            patched.setattr(bulk_aside, "WORTH_BYTES", 0)
            patched.setattr(os, "sched_getaffinity", lambda _: {0, 1})
            patched.setattr(bulk_aside, "_started", killed)
            with pytest.raises(StartupError, match="parses lines ended with -9"):
                load_files(catalog, [file])
        assert [process.returncode for process in processes] == [-9, -9]
        assert dump.tables(catalog.store) == before
        assert not (tmp_path / "catalog" / FOLDER).exists()
        assert load_files(catalog, [file])["upserted"] == ITEMS


def test_a_process_that_parses_ends_with_its_input() -> None:
    with bulk_aside._started(Parser(BOOKS, has_embedder=False)) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def _no_room(*_: object) -> None:
    raise StorageError("no room")


@pytest.mark.parametrize(
    "rows", [np.zeros((ITEMS - 1, 8), np.float32), np.zeros((ITEMS, 8)), np.zeros(ITEMS, np.float32)]
)
def test_embeddings_that_do_not_fit_the_lines_are_refused_before_anything_is_loaded(
    tmp_path: Path, file: str, rows: np.ndarray
) -> None:
    np.save(tmp_path / "rows.npy", rows)
    with closing(Catalog.create(tmp_path / "catalog", BOOKS)) as catalog:
        before = dump.tables(catalog.store)
        with pytest.raises(StartupError, match=r"rows\.npy"):
            load_files(catalog, [file], embeddings=tmp_path / "rows.npy")
        assert dump.tables(catalog.store) == before
