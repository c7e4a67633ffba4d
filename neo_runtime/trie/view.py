"""TrieView: the catalog's SIDs of one generation, as an immutable value. A swap is a pointer to another view."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.space import Keys
from neo_runtime.trie.live import LiveTrie
from neo_runtime.trie.rank import RankBits
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import Changes, TypeView
from neo_runtime.types import ItemKey


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
