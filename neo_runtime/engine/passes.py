"""What a request asks of the model: tokens to feed, and the logits wanted of them. Requests know nothing of each other;
whoever runs a pass packs the feeds of all into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from neo_runtime.engine.context import Context

LAST = np.array([-1])


class Head(NamedTuple):
    """Logits float32 [rows, tokens] of some `rows` of a feed over a run of tokens; or, `normalizes`, the logarithm of
    the sum of their exponentials over it: float32 [rows].
    """

    tokens: slice
    rows: NDArray[np.integer] = LAST
    normalizes: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """`tokens` int64 [n] at `positions` [n], whose keys and values go to the columns from `start` on of the context.

    `visible` bool [n, start + n]: columns that each row sees; None: a line, every row sees what is before it. A line
    may be fed in several passes. The answer is one array for each head.
    """

    context: Context
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    start: int
    visible: NDArray[np.bool_] | None
    heads: Sequence[Head]

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, begin: int, end: int) -> Feed:
        """Rows [begin, end) of a line; the last part brings what the heads ask for, which is of the last row."""
        assert self.visible is None
        heads = self.heads if end == len(self) else ()
        return Feed(
            self.context, self.tokens[begin:end], self.positions[begin:end], self.start + begin, None, heads
        )  # fmt: skip
