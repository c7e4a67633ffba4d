"""The constraint trie: level arrays over the catalog's SIDs, one immutable view per generation. numpy only."""

from neo_runtime.trie.live import Children, LiveTrie, Nodes
from neo_runtime.trie.segment import Segment
from neo_runtime.trie.type_view import TypeView
from neo_runtime.trie.view import RestrictedView, TrieView

__all__ = ["Children", "LiveTrie", "Nodes", "RestrictedView", "Segment", "TrieView", "TypeView"]
