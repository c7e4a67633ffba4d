"""TypeView: one item type at one generation: a large base segment, the base leaves that died or changed since it was
built, and a small delta segment with what replaced them. A leaf is live in exactly one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neo_runtime.sid.space import SidSpace
from neo_runtime.trie.items import PackedItems
from neo_runtime.trie.rank import RankBits
from neo_runtime.trie.segment import Segment

Changes = Mapping[int, tuple[str, ...]]
"""Packed SID to the item ids on it from now on, best first; none: the leaf is gone."""


@dataclass(frozen=True, slots=True, eq=False)
class TypeView:
    """Immutable. `alive` None: every base leaf is."""

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
