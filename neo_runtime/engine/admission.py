"""Who is let in: no more work than the engine does in a while, in tokens that are still to be fed at its own pace."""

from __future__ import annotations

from typing import NamedTuple

from neo_runtime.engine.api import GenerateWork, RankWork, Work
from neo_runtime.engine.pace import Pace
from neo_runtime.errors import OverloadedError
from neo_runtime.prompt.message import Conversation
from neo_runtime.types import ItemKey

# Guesses, made before anything is tokenized: a token of text has about as many letters, a span about as many tokens.
_LETTERS, _SPAN, _LEVELS = 4, 6, 4
_LEAST_HINT_S, _LONGEST_HINT_S = 0.1, 60.0


class Cost(NamedTuple):
    """What a request may need at most: rows through the model, and passes that come one after the other."""

    rows: int
    passes: int


def cost(work: Work) -> Cost:
    """Of a request that nothing is remembered of."""
    if isinstance(work.prompt, Conversation):
        parts = [part for turn in work.prompt.turns for part in turn.parts]
    else:
        parts = list(work.prompt.subject)
    items = len(work.history) + sum(isinstance(part, ItemKey) for part in parts)
    prompt = items * _SPAN + sum(len(part) for part in parts if isinstance(part, str)) // _LETTERS + 1
    if isinstance(work, RankWork):
        return Cost(prompt + work.max_results * (_LEVELS - 1), _LEVELS)
    if isinstance(work, GenerateWork):
        return Cost(prompt + work.decoding.max_output_tokens, 1 + work.decoding.max_output_tokens)
    return Cost(prompt, 1)


class Admission:
    """Of one engine. Not thread-safe."""

    def __init__(self, *, max_requests: int, max_running: int, max_backlog_s: float) -> None:
        """`max_running` requests share passes."""
        self._max_requests, self._max_running, self._max_backlog_s = max_requests, max_running, max_backlog_s
        self._costs: dict[int, Cost] = {}
        self._rows = self._passes = 0
        self.pace = Pace()

    @property
    def backlog_s(self) -> float:
        """What is let in takes about as long, at most."""
        sharing = min(len(self._costs), self._max_running)
        return self.pace.row_s * self._rows + self.pace.pass_s * self._passes / sharing if sharing else 0.0

    def admit(self, number: int, work: Work) -> None:
        """OverloadedError, with a hint when there is room, where there is too much before it."""
        backlog_s, requests = self.backlog_s, len(self._costs)
        if requests >= self._max_requests:
            raise OverloadedError(f"{requests} requests run or wait already", retry_after_s=_hint(backlog_s / requests))
        if backlog_s > self._max_backlog_s:
            raise OverloadedError(
                f"{self._rows} tokens run or wait already, about {backlog_s:.0f} s of work",
                reason="BACKLOG_FULL", retry_after_s=_hint(backlog_s - self._max_backlog_s),
            )  # fmt: skip
        found = self._costs[number] = cost(work)
        self._rows += found.rows
        self._passes += found.passes

    def release(self, number: int) -> None:
        """The request has ended. Unknown: no-op."""
        found = self._costs.pop(number, Cost(0, 0))
        self._rows -= found.rows
        self._passes -= found.passes

    def clear(self) -> None:
        """The engine and all its requests are gone; the next one is as fast, for all that is known."""
        self._costs.clear()
        self._rows = self._passes = 0


def _hint(seconds: float) -> float:
    return min(max(seconds, _LEAST_HINT_S), _LONGEST_HINT_S)
