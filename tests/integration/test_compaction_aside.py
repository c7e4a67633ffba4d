"""A large catalog is folded in another process while events and readers go on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from neo_runtime.catalog import catalog as catalog_module
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.ingest.line import decode_line
from neo_runtime.trie import Restriction
from neo_runtime.trie.predicate import Condition, Equals, Predicate
from neo_runtime.types import Position
from tests.kit import tiny
from tests.kit.changes import Change, line, random_changes
from tests.kit.fold import Fold, assert_equals_fold

OLD = Predicate(must=(Condition("year", Equals(1951)),))
PATIENCE_S = 240.0  # the child is niced: on a busy machine it gets little


def applied(catalog: Catalog, changes: list[Change], start: int) -> None:
    catalog.apply([
        decode_line(line(change), Position("log", 0, start + number), 0) for number, change in enumerate(changes)
    ])  # fmt: skip


@pytest.fixture
def always_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "COMPACT_INLINE_LEAVES", 0)
    monkeypatch.setattr(catalog_module, "COMPACT_LEAVES", 10)


@pytest.mark.usefixtures("always_aside")
def test_events_and_readers_go_on_while_segments_are_written_in_another_process(tmp_path: Path) -> None:
    made = Catalog.create(tmp_path / "c", tiny.codebooks(), named=(OLD,))
    reader = CatalogReader(made.store, {name: book.space for name, book in made.codebooks.items()})
    log: list[Change] = []
    bases: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    rng = random.Random(5)
    while len(bases) < 3:
        assert time.monotonic() < deadline, "no new base"
        changes = random_changes(rng.randrange(1 << 30), 20, tombstones=False)
        applied(made, changes, len(log))
        log += changes
        reader.view()
        with made.store.read() as txn:
            base = txn.base()
        if base:
            bases.add(base.generation)
            assert set(base.files.values()) <= {path.name for path in (tmp_path / "c" / "segments").iterdir()}
    fold = Fold(log)
    for follower in (made.reader, reader):
        assert_equals_fold(follower, fold)
        restricted = follower.view().restrict(Restriction(predicates=(OLD,)))
        assert sum(len(trie) for trie in restricted.tries.values()) == len(fold.live()), "all are of that year"
    made.close()
    reopened = Catalog.open(tmp_path / "c")
    assert_equals_fold(reopened.reader, fold)
    assert len(list((tmp_path / "c" / "segments").iterdir())) == 3, "one a type: what was cut short is gone"
    reopened.close()


@pytest.mark.usefixtures("always_aside")
def test_a_compaction_that_fails_costs_nothing_but_a_longer_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Catalog.create(tmp_path / "c", tiny.codebooks())
    monkeypatch.setattr("neo_runtime.catalog.compaction.sys.executable", "/bin/false")
    changes = random_changes(1, 200, tombstones=False)
    for start in range(0, len(changes), 20):
        applied(made, changes[start : start + 20], start)
        time.sleep(0.01)
    assert_equals_fold(made.reader, Fold(changes))
    with made.store.read() as txn:
        assert txn.base() is None
    made.close()
