"""Open what two alias targets name, and compare them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.snapshot.aliases import EVENTS, Target
from neo_runtime.snapshot.diff import TypeDiff, diff
from neo_runtime.snapshot.restore import on_this_machine
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import Progress


def compare(
    snapshots: Snapshots, catalog: Path, before: Target, after: Target, progress: Progress
) -> dict[str, TypeDiff]:
    """By item type. Snapshots that lie elsewhere are fetched first."""
    if before == after:
        return {}
    old = _open(snapshots, catalog, before)
    with closing(old.store):
        new = _open(snapshots, catalog, after)
        with closing(new.store):
            return diff(old, new, progress)


def _open(snapshots: Snapshots, catalog: Path, target: Target) -> CatalogReader:
    if target == EVENTS:
        return open_reader(catalog)[0]
    folder = on_this_machine(snapshots.store, snapshots.pinned(target), catalog)
    return open_reader(folder, frozen=True)[0]
