"""Content embeddings: an item's text to the vector that its semantic ID is made from."""

from __future__ import annotations

from neo_runtime.embed.base import Embedder, item_text
from neo_runtime.embed.load import load_embedder

__all__ = ["Embedder", "item_text", "load_embedder"]
