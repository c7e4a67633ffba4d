"""Token layout of a grounded model: text tokens, then the two span markers, then one token per (type, level, code).

All codes of one (type, level) are consecutive, so going from codes to tokens and back is arithmetic, and the head's
rows of a level are one slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from neo_runtime.sid.space import SidSpace

SPAN_OPEN, SPAN_CLOSE = "[SID]", "[/SID]"


@dataclass(frozen=True)
class Vocabulary:
    """`text_size` tokens of text; `spaces` in the order in which their codes follow the markers."""

    text_size: int
    spaces: Mapping[str, SidSpace]

    @property
    def span_open(self) -> int:
        return self.text_size

    @property
    def span_close(self) -> int:
        return self.text_size + 1

    @cached_property
    def _first(self) -> dict[tuple[str, int], int]:
        first, token = {}, self.text_size + 2
        for item_type, space in self.spaces.items():
            for level, size in enumerate(space.level_sizes):
                first[item_type, level] = token
                token += size
        return first

    @cached_property
    def size(self) -> int:
        return self.text_size + 2 + sum(sum(space.level_sizes) for space in self.spaces.values())

    def level_tokens(self, item_type: str, level: int) -> slice:
        """Tokens of all codes of a level."""
        first = self._first[item_type, level]
        return slice(first, first + self.spaces[item_type].level_sizes[level])

    def span(self, item_type: str, codes: Sequence[int]) -> list[int]:
        """A whole span: marker, codes, marker."""
        first = self._first
        tokens = [first[item_type, level] + code for level, code in enumerate(codes)]
        return [self.span_open, *tokens, self.span_close]

    def new_tokens(self) -> list[str]:
        """Spelling of every token from `span_open` on, in order."""
        names = [SPAN_OPEN, SPAN_CLOSE]
        for item_type, space in self.spaces.items():
            names += [f"<{item_type}:{level}:{c}>" for level, size in enumerate(space.level_sizes) for c in range(size)]
        return names
