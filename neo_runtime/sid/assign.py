"""What happens when several items quantize to one tuple."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from itertools import islice

from neo_runtime.errors import EventError
from neo_runtime.sid.codebook import Codebook, Floats

# Tuples tried before an item is refused: with 256 codes a level, 256 full prefixes in a row.
MAX_TRIES = 65_536


class CollisionPolicy(Enum):
    """How items that quantize alike are told apart."""

    NEAREST_FREE = "nearest-free"
    """The next nearest free tuple, the last level first: every item has its own SID."""

    SHARE = "share"
    """All on one SID, all reachable, the most popular first."""

    CANONICAL = "canonical"
    """All on one SID, only the most popular reachable (the paper)."""


def nearest_free(codebook: Codebook, embedding: Floats, is_free: Callable[[int], bool]) -> int:
    """Packed key of the nearest tuple that is free. EventError where none of the nearest is."""
    for codes in islice(codebook.nearest_tuples(embedding), MAX_TRIES):
        key = codebook.space.pack_one(codes)
        if is_free(key):
            return key
    raise no_free_sid(codebook.item_type)


def no_free_sid(item_type: str) -> EventError:
    return EventError(f"no free semantic ID near item of type {item_type!r}", reason="CODEBOOK_FULL")
