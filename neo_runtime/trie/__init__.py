"""The constraint trie: level arrays over the catalog's SIDs, one immutable view per generation. No torch, no LMDB."""

from neo_runtime.trie.live import Children, LiveTrie, Nodes
from neo_runtime.trie.rows import Leaf, PackedRows, Row
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import TypeView
from neo_runtime.trie.view import RestrictedView, Restriction, TrieView

__all__ = [
    "Children",
    "Leaf",
    "LiveTrie",
    "Nodes",
    "PackedRows",
    "RestrictedView",
    "Restriction",
    "Row",
    "Segment",
    "TrieView",
    "TypeView",
]  # fmt: skip
