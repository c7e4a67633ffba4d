"""A reader's read transactions: open for the reading alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.tables import LogEntry, Transaction
from neo_runtime.errors import CatalogError
from neo_runtime.trie import TrieView
from neo_runtime.types import ItemKey
from tests.kit import tiny


def test_no_read_transaction_is_open_while_a_view_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = tiny.catalog(tmp_path / "c")
    reading: list[int] = []
    apply = TrieView.apply

    def watched(view: TrieView, *arguments: Any) -> TrieView:
        reading.append(catalog.store.usage().readers)
        return apply(view, *arguments)

    monkeypatch.setattr(TrieView, "apply", watched)
    reader = CatalogReader(catalog.store, {name: book.space for name, book in catalog.codebooks.items()})
    assert {name: len(view) for name, view in reader.view().types.items()} == dict.fromkeys(tiny.TYPES, 20)
    assert reading == [0]
    catalog.close()


def test_a_catalog_that_its_writer_has_only_begun_to_make_is_refused_by_name(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), max_dbs=1).close()
    with pytest.raises(CatalogError, match="not made yet"):
        open_reader(tmp_path)


def test_a_newer_base_is_taken_without_reading_again_what_was_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tiny.catalog(tmp_path / "c")
    reader = CatalogReader(catalog.store, {name: book.space for name, book in catalog.codebooks.items()})
    read: list[int] = []
    log_after = Transaction.log_after

    def watched(txn: Transaction, generation: int) -> Iterator[tuple[int, LogEntry]]:
        for entry in log_after(txn, generation):
            read.append(entry[0])
            yield entry

    reader.view()
    first = catalog.compact()
    catalog.apply([tiny.upsert("film/after", time=9, offset=1)])
    followed = reader.view()
    assert reader._base_generation < first < followed.generation
    monkeypatch.setattr(Transaction, "log_after", watched)
    reader.rebase()
    assert reader._base_generation == first
    assert read == []
    view = reader.pin([ItemKey("film", "after")])
    assert view.view.generation == followed.generation
    assert len(view.sids) == 1
    assert [len(view.view.types[name]) for name in tiny.TYPES] == [len(followed.types[name]) for name in tiny.TYPES]
    catalog.close()
