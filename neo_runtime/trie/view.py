"""TrieView: the catalog's SIDs of one generation, as an immutable value. A swap is a pointer to another view.

Per item type a view is a large base segment, the base leaves that died or changed since it was built, and a small
delta segment with what replaced them. A leaf is live in exactly one of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.items import PackedItems
from neo_runtime.trie.live import LiveTrie
from neo_runtime.trie.rank import RankBits
from neo_runtime.trie.segment import Segment
from neo_runtime.types import ItemKey

Changes = Mapping[int, tuple[str, ...]]
"""Packed SID to the item ids on it from now on, best first; none: the leaf is gone."""


@dataclass(frozen=True, slots=True, eq=False)
class TypeView:
    """One item type. `alive` None: every base leaf is."""

    base: Segment
    alive: RankBits | None
    delta: Segment

    @classmethod
    def empty(cls, space: SidSpace) -> TypeView:
        return cls(Segment.empty(space), None, Segment.empty(space))

    @classmethod
    def of_base(cls, base: Segment) -> TypeView:
        return cls(base, None, Segment.empty(base.space))

    @property
    def space(self) -> SidSpace:
        return self.base.space

    def __len__(self) -> int:
        """Live leaves, that is distinct SIDs."""
        return (len(self.base) if self.alive is None else self.alive.count) + len(self.delta)

    def apply(self, changes: Changes) -> TypeView:
        """The view after `changes`; self stays as it is."""
        if not changes:
            return self
        changed = np.array(sorted(changes), np.uint64)
        in_base = self.base.find(changed)
        in_base = in_base[in_base >= 0]
        alive = self.alive
        if len(in_base):
            alive = (alive or RankBits.full(len(self.base))).without(in_base)
        kept = np.flatnonzero(~np.isin(self.delta.keys, changed))
        added = [key for key in changed.tolist() if changes[key]]
        keys = np.concatenate([self.delta.keys[kept], np.array(added, np.uint64)])
        items = self.delta.items.take(kept).concat(PackedItems.of(changes[key] for key in added))
        order = np.argsort(keys)
        return TypeView(self.base, alive, Segment.build(self.space, keys[order], items.take(order)))

    def compacted(self) -> Segment:
        """A new base with everything that is live."""
        if self.alive is None and not len(self.delta):
            return self.base
        kept = np.arange(len(self.base)) if self.alive is None else self.alive.places()
        keys = np.concatenate([self.base.keys[kept], self.delta.keys])
        items = self.base.items.take(kept).concat(self.delta.items)
        order = np.argsort(keys, kind="stable")
        return Segment.build(self.space, keys[order], items.take(order))

    def items_on(self, key: int) -> tuple[str, ...]:
        """Item ids on a packed SID, best first; none where it is not live."""
        wanted = np.array([key], np.uint64)
        place = int(self.delta.find(wanted)[0])
        if place >= 0:
            return self.delta.items.ids(place)
        place = int(self.base.find(wanted)[0])
        if place < 0 or (self.alive is not None and not self.alive.test(np.array([place]))[0]):
            return ()
        return self.base.items.ids(place)


@dataclass(frozen=True, slots=True, eq=False)
class TrieView:
    """All item types at one generation."""

    generation: int
    types: Mapping[str, TypeView]

    def apply(self, generation: int, changes: Mapping[str, Changes]) -> TrieView:
        """The next view. Generations only grow."""
        assert generation > self.generation
        types = {name: view.apply(changes.get(name, {})) for name, view in self.types.items()}
        return TrieView(generation, types)

    def restrict(
        self,
        item_types: Collection[str] = (),
        allow: Mapping[ItemKey, int] | None = None,
        deny: Mapping[ItemKey, int] | None = None,
    ) -> RestrictedView:
        """What a request may emit: only `item_types` (none named: all), only `allow` (None: all), nothing of `deny`.

        Both map an item to its packed SID in this generation. On a shared SID only the permitted items are named.
        """
        names = list(item_types) or list(self.types)
        tries = {name: _restricted(self.types[name], name, allow, deny or {}) for name in names}
        return RestrictedView(self.generation, tries)


@dataclass(frozen=True, slots=True, eq=False)
class RestrictedView:
    """One generation under one request's constraints."""

    generation: int
    tries: Mapping[str, LiveTrie]

    @property
    def is_empty(self) -> bool:
        return not any(len(trie) for trie in self.tries.values())


def _restricted(
    view: TypeView, name: str, allow: Mapping[ItemKey, int] | None, deny: Mapping[ItemKey, int]
) -> LiveTrie:
    allowed = None if allow is None else {key.id: sid for key, sid in allow.items() if key.type == name}
    denied = {key.id: sid for key, sid in deny.items() if key.type == name}
    base_bits, delta_bits = view.alive, None
    if allowed is not None:
        sids = np.array(sorted(set(allowed.values())), np.uint64)
        base_bits = _intersect(base_bits, RankBits.of(_found(view.base, sids), len(view.base)))
        delta_bits = RankBits.of(_found(view.delta, sids), len(view.delta))
    trie = LiveTrie(view, base_bits, delta_bits, None if allowed is None else frozenset(allowed), frozenset(denied))
    touched = {*denied.values(), *(allowed or {}).values()} if denied or allowed else set()
    return trie.without_leaves(_emptied(trie, touched)) if touched else trie


def _intersect(bits: RankBits | None, other: RankBits) -> RankBits:
    return other if bits is None else bits & other


def _found(segment: Segment, keys: Keys) -> NDArray[np.int64]:
    places = segment.find(keys)
    return places[places >= 0]


def _emptied(trie: LiveTrie, sids: Iterable[int]) -> list[int]:
    """Those SIDs on which no permitted item is left."""
    return [sid for sid in sids if not trie.permitted(trie.view.items_on(sid))]
