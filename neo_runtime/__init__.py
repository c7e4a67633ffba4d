"""NEO Runtime: one language model that answers in text and in items of a live catalog."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["AsyncNeoClient", "Catalog", "GroundedLogitsProcessor", "NeoClient", "NeoModel", "TrieView", "__version__"]

if TYPE_CHECKING:
    from neo_runtime.catalog.catalog import Catalog
    from neo_runtime.client import AsyncNeoClient, NeoClient
    from neo_runtime.model.checkpoint import NeoModel
    from neo_runtime.model.logits_processor import GroundedLogitsProcessor
    from neo_runtime.trie import TrieView

_HOMES = {
    "AsyncNeoClient": "neo_runtime.client",
    "Catalog": "neo_runtime.catalog.catalog",
    "GroundedLogitsProcessor": "neo_runtime.model.logits_processor",
    "NeoClient": "neo_runtime.client",
    "NeoModel": "neo_runtime.model.checkpoint",
    "TrieView": "neo_runtime.trie",
}


def __getattr__(name: str) -> object:
    """Import on first use: a client should not pay for torch."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
