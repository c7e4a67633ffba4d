"""A reader's read transactions: open for the reading alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import pytest

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.errors import CatalogError
from neo_runtime.trie import TrieView
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
