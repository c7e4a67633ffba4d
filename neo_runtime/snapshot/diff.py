"""What changes for clients between two states of a catalog: items added, removed, moved to another SID."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.tables import Bearers
from neo_runtime.snapshot.store import Progress

EXAMPLES = 5
_REPORTED = 50_000
_PIECE = 20_000  # read transactions are short


class TypeDiff(msgspec.Struct, frozen=True):
    """Of one item type, from the first state to the second; with a few ids of each kind."""

    before: int
    after: int
    added: int
    removed: int
    moved: int
    examples: dict[str, list[str]]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.removed or self.moved)


def diff(before: CatalogReader, after: CatalogReader, progress: Progress) -> dict[str, TypeDiff]:
    """By item type. One pass over both tables of SIDs, in their order; memory holds what differs, not what is alike.

    A live catalog is read piece by piece: what is committed meanwhile may be counted as it was or as it is.
    """
    sizes = [{name: stats.items for name, stats in reader.state().stats.items()} for reader in (before, after)]
    step = _Counter(progress, max(sum(size.values()) for size in sizes))
    names = sorted({*sizes[0], *sizes[1]})
    found = {n: _of_type(n, before, after, sizes[0].get(n, 0), sizes[1].get(n, 0), step) for n in names}
    step.finish()
    return found


def _sids(reader: CatalogReader, name: str) -> Iterator[tuple[int, Bearers]]:
    start = 0
    while start < 1 << 64:
        with reader.store.read() as txn:
            piece = list(islice(txn.sids(name, start), _PIECE))
        yield from piece
        start = piece[-1][0] + 1 if piece else 1 << 64


def _of_type(name: str, old: CatalogReader, new: CatalogReader, before: int, after: int, step: _Counter) -> TypeDiff:
    gone: dict[str, int] = {}
    come: dict[str, int] = {}
    for sid, old_bearers, new_bearers in _side_by_side(_sids(old, name), _sids(new, name)):
        step.one()
        if old_bearers == new_bearers:
            continue
        was, now = {item for _, item in old_bearers}, {item for _, item in new_bearers}
        gone.update(dict.fromkeys(was - now, sid))
        come.update(dict.fromkeys(now - was, sid))
    kinds = {
        "added": sorted(come.keys() - gone.keys()),
        "removed": sorted(gone.keys() - come.keys()),
        "moved": sorted(gone.keys() & come.keys()),
    }
    counts = {kind: len(ids) for kind, ids in kinds.items()}
    return TypeDiff(before, after, **counts, examples={kind: ids[:EXAMPLES] for kind, ids in kinds.items()})


def _side_by_side(
    old: Iterator[tuple[int, Bearers]], new: Iterator[tuple[int, Bearers]]
) -> Iterator[tuple[int, Bearers, Bearers]]:
    """Every SID that either holds, ascending, with what each holds on it."""
    left, right = next(old, None), next(new, None)
    while left or right:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left[1], []
            left = next(old, None)
        elif left is None or right[0] < left[0]:
            yield right[0], [], right[1]
            right = next(new, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(old, None), next(new, None)


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def one(self) -> None:
        self._done += 1
        if self._done % _REPORTED == 0:
            self._progress(min(self._done, self._total), self._total)

    def finish(self) -> None:
        self._progress(self._total, self._total)
