"""Follow a catalog: the newest TrieView, and items as of exactly that view. Thread-safe; holds no transaction."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.item import ItemRecord
from neo_runtime.catalog.records import Base, Description, State
from neo_runtime.catalog.store import Store
from neo_runtime.catalog.tables import LogEntry, Transaction
from neo_runtime.errors import CatalogError
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie import Leaf, Segment, TrieView, TypeView
from neo_runtime.trie.delta import Changes
from neo_runtime.types import ItemKey

# A reader whose deltas, or what it remembers of the log, outgrow this takes the writer's newer base, if there is one.
_REBASE_LEAVES = 4_096
_REBASE_COMMITS = 4_096
_OPEN_TRIES = 5


@dataclass(frozen=True, slots=True)
class Pinned:
    """A view, and the packed SIDs that live items have in it. Items that it does not hold are left out."""

    view: TrieView
    sids: Mapping[ItemKey, int]
    snapshot: str
    """Resolved name of what the view's generation is counted in."""


class _News(NamedTuple):
    """A generation, the base to go over to where there is a newer one, and the log from the view or the base on."""

    generation: int
    base: Base | None
    entries: list[tuple[int, LogEntry]]


class CatalogReader:
    """`spaces` come from the codebooks: a catalog is not readable without knowing what its codes mean."""

    def __init__(self, store: Store, spaces: Mapping[str, SidSpace]) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._spaces = dict(spaces)
        self._base_generation = 0
        self._touched: list[tuple[int, dict[str, Keys]]] = []  # SIDs that each generation since the base changed
        self._view = TrieView(0, {name: TypeView.empty(space) for name, space in self._spaces.items()})
        with store.read() as txn:
            self.description: Description = txn.description()
        self.view()

    def view(self) -> TrieView:
        """The newest committed generation."""
        return self.pin(()).view

    def pin(self, keys: Collection[ItemKey]) -> Pinned:
        """The newest view, and the SIDs of `keys` in the same generation."""
        for attempt in range(_OPEN_TRIES):
            try:
                with self._lock:
                    with self.store.read() as txn:
                        news = self._news(txn)
                        sids = {key: sid for key in keys if (sid := txn.live_sid(key)) is not None}
                    return Pinned(self._moved(news), sids, self.snapshot)
            except FileNotFoundError as error:  # the writer replaced the base after we had read its name
                if attempt == _OPEN_TRIES - 1:
                    raise CatalogError(
                        f"{error.filename} is lost; restore the catalog folder, or load it again"
                    ) from error
        raise AssertionError("unreachable")

    def rebase(self) -> None:
        """Move to the newest base now, however small the deltas are."""
        with self._lock:
            with self.store.read() as txn:
                news = self._news(txn, rebases=True)
            self._moved(news)

    def _news(self, txn: Transaction, *, rebases: bool = False) -> _News:
        """What came since the last look. No view is made of it here: that may take longer than a read transaction
        should, seconds where the kernel is loaded for it.
        """
        generation, known = txn.state().generation, self._view.generation
        if generation == known and not rebases:
            return _News(generation, None, [])
        base = txn.base()
        deltas = sum(len(view.delta) for view in self._view.types.values())
        wants_base = rebases or deltas > _REBASE_LEAVES or len(self._touched) > _REBASE_COMMITS
        if base and (base.generation > known or (wants_base and base.generation > self._base_generation)):
            return _News(generation, base, list(txn.log_after(max(base.generation, known))))
        return _News(generation, None, list(txn.log_after(known)))

    def _moved(self, news: _News) -> TrieView:
        view, touched = self._view, self._touched
        if news.base:
            touched = [(generation, keys) for generation, keys in touched if generation > news.base.generation]
            view = self._over(news.base, [keys for _, keys in touched])
        if news.entries:
            view = view.apply(news.generation, _merged(news.entries))
            touched += [(generation, _touched_by(entry)) for generation, entry in news.entries]
        assert view.generation == news.generation, "the log does not reach the state's generation"
        self._view, self._touched = view, touched
        if news.base:
            self._base_generation = news.base.generation
        return view

    def _over(self, base: Base, touched: list[dict[str, Keys]]) -> TrieView:
        """The view at hand over another base, `touched` since; the base as it is where it is newer than the view."""
        folder, view = self.store.path / "segments", self._view
        segments = {name: Segment.load(folder / file) for name, file in base.files.items()}
        if base.generation > view.generation:
            return TrieView(base.generation, {name: TypeView.of_base(segment) for name, segment in segments.items()})
        none = np.empty(0, np.uint64)
        types = {
            name: view.types[name].over(
                segment, np.unique(np.concatenate([none, *(keys[name] for keys in touched if name in keys)]))
            )
            for name, segment in segments.items()
        }
        return TrieView(view.generation, types)

    def item(self, key: ItemKey) -> ItemRecord | None:
        """The newest record, deleted or not; None where the item was never seen."""
        with self.store.read() as txn:
            return txn.item(key)

    def items(self, keys: Collection[ItemKey]) -> dict[ItemKey, ItemRecord]:
        """Those of `keys` that have a record."""
        with self.store.read() as txn:
            return {key: record for key in keys if (record := txn.item(key))}

    def state(self) -> State:
        with self.store.read() as txn:
            return txn.state()

    def offsets(self) -> dict[tuple[str, int], int]:
        with self.store.read() as txn:
            return txn.offsets()

    @property
    def snapshot(self) -> str:
        """Resolved name of what generations are counted in."""
        return f"catalogs/{self.description.name}/live-{self.description.catalog_id}"


def _touched_by(entry: LogEntry) -> dict[str, Keys]:
    return {name: np.array([sid for sid, _ in leaves], np.uint64) for name, leaves in entry.items()}


def _merged(entries: list[tuple[int, LogEntry]]) -> dict[str, Changes]:
    """The last word on every SID."""
    last: dict[str, dict[int, Leaf]] = {}
    for _, entry in entries:
        for item_type, leaves in entry.items():
            last.setdefault(item_type, {}).update(leaves)
    return {item_type: Changes.of(leaves) for item_type, leaves in last.items()}
