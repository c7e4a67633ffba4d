"""One request's attention state: a line of tokens, and a tree of beams at its end.

The tree shares the line's keys and values: its rows go through the model side by side, each seeing the line and its own
ancestors only (a tree mask). Nothing is copied per beam, and dropping the tree is forgetting its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from neo_runtime.engine.passes import Feed, Head


class Columns(Protocol):
    """Where a request's keys and values are."""

    row: int

    def restore(self, tokens: Sequence[int]) -> int:
        """Fill the first columns with what is remembered of the beginning of `tokens`; how many there are."""
        ...

    def remember(self, tokens: Sequence[int]) -> None:
        """The first columns are of these tokens: others may begin with them."""
        ...

    def move(self, sources: NDArray[np.integer], start: int) -> None:
        """Copy columns to the ones from `start` on, and forget all behind."""
        ...

    def close(self, used: int) -> None:
        """Nothing reads them any more. `used`: of how many anything was written."""
        ...


class Branch(NamedTuple):
    """A row of the tree: the levels grown when it was, and its number in the last of them."""

    levels: int
    row: int


class Context:
    """Knows what is where; a feed's columns count as filled from the moment that it is made."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._line = self._used = 0
        self._levels: list[NDArray[np.bool_]] = []  # of each level: [its rows, all tree rows up to it], itself included

    @property
    def row(self) -> int:
        """In the pool."""
        return self._columns.row

    @property
    def columns(self) -> Columns:
        return self._columns

    def begin(self, tokens: Sequence[int]) -> int:
        """Start with what is remembered of the beginning of `tokens`; how many need not be fed."""
        assert not self._line
        self._line = self._used = self._columns.restore(tokens)
        return self._line

    def remember(self, tokens: Sequence[int]) -> None:
        """The line begins with `tokens`: others may take them over."""
        self._columns.remember(tokens)

    def extend(self, tokens: Sequence[int], heads: Sequence[Head] = ()) -> Feed:
        """Append to the line."""
        assert not self._levels, "a branch of the tree must be kept first"
        start = self._line
        self._line += len(tokens)
        self._used = max(self._used, self._line)
        return Feed(self, np.array(tokens, np.int64), np.arange(start, self._line), start, None, heads)

    def grow(self, levels: Sequence[NDArray[np.integer]], parents: NDArray[np.integer], heads: Sequence[Head]) -> Feed:
        """Tree levels of n rows each: tokens `levels[0]` [n] below rows `parents` [n] of the level before, those of
        every further one each below the same row of the one before it. Rows of the feed count through all levels.
        """
        above = self._levels[-1] if self._levels else np.zeros((1, 0), bool)
        rows, start, depth = len(parents), self._line + above.shape[1], self._line + len(self._levels)
        visible = np.zeros((len(levels) * rows, start + len(levels) * rows), bool)
        visible[:, : self._line] = True
        above = above[parents]
        for number in range(len(levels)):
            above = np.concatenate([above, np.eye(rows, dtype=bool)], axis=1)
            self._levels.append(above)
            visible[number * rows : (number + 1) * rows, self._line : self._line + above.shape[1]] = above
        self._used = max(self._used, visible.shape[1])
        positions = np.repeat(np.arange(depth, depth + len(levels)), rows)
        return Feed(self, np.concatenate(levels).astype(np.int64), positions, start, visible, heads)

    def keep(self, branch: Branch) -> None:
        """The tokens of this row and of its ancestors continue the line; the rest of the tree is dropped."""
        path = np.empty(0, np.int64)
        if branch.levels:
            path = np.flatnonzero(self._levels[branch.levels - 1][branch.row])
        self._columns.move(self._line + path, self._line)
        self._line += len(path)
        self._levels = []

    def close(self) -> None:
        """Its memory is free for others."""
        self._columns.close(self._used)
