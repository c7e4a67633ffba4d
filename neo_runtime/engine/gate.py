"""The gate before an int8 model: it is served where its ranked lists are those of the model that it was made from.

A recorded evaluation is a file of JSON lines, each a prompt and, where it is known, the item that came next:
`{"type": "film", "history": ["book/dune-1965"], "next": "film/alien-1979"}`, or `{"type": "film", "query": "robots"}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from neo_runtime.engine.api import Constraints, EngineLimits, Ranked, RankedList, RankWork
from neo_runtime.engine.ask import answer
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder, Pins
from neo_runtime.engine.span import Normalization
from neo_runtime.errors import ModelError, NeoError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.quantize import quantize
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.types import ItemKey

FILE = "evaluation.jsonl"
"""Its name in a model's folder."""
_LISTED, _HIT = 30, 10
_log = structlog.get_logger(__name__)


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. Items are `type/id`; without a query the prompt is the recommendation for the history."""

    type: str
    history: tuple[str, ...] = ()
    query: str = ""
    next: str = ""

    def work(self) -> RankWork:
        """What asks for it; ValueError where an item is not `type/id`."""
        prompt = TaskPrompt(Task.RETRIEVE, self.type, (self.query,)) if self.query else TaskPrompt(
            Task.RECOMMEND, self.type
        )  # fmt: skip
        return RankWork(prompt, tuple(map(ItemKey.parse, self.history)), Constraints((self.type,)), _LISTED)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`overlap`: mean share of a list of 30 that the other list has too; hits: next items among the first 10."""

    prompts: int
    overlap: float
    hits_before: int
    hits_after: int

    @property
    def hit_loss(self) -> float:
        """Share of the hits that is gone; less than 0 where there are more."""
        return (self.hits_before - self.hits_after) / max(self.hits_before, 1)


def read_recorded(path: Path) -> list[Recorded]:
    """ModelError where the file is missing, empty, or has a line that is none."""
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        recorded = [msgspec.json.decode(line, type=Recorded) for line in lines]
        for one in recorded:
            one.work()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"dtype int8 needs a recorded evaluation, and {path} cannot be read ({error}); give one with --gate"
        ) from error
    if not recorded:
        raise ModelError(f"the recorded evaluation {path} has no prompt")
    return recorded


def quantize_through_gate(
    model: NeoModel, reader: Pins, recorded: Sequence[Recorded], normalization: Normalization,
    *, min_overlap: float, max_hit_loss: float,
) -> Comparison:  # fmt: skip
    """Turn the model's blocks into int8, in place. ModelError with the figures where its lists changed too much."""
    before = _ranked(model, reader, recorded, normalization)
    quantize(model.lm)
    after = _ranked(model, reader, recorded, normalization)
    found = compare(recorded, before, after)
    figures = (
        f"{found.overlap:.3f} of the first {_LISTED} are the same (at least {min_overlap} must be), and of items that "
        f"came next {found.hits_after} are among the first {_HIT}, {found.hits_before} before ({max_hit_loss:.1%} may "
        f"be lost), over {found.prompts} recorded prompts"
    )
    if found.overlap < min_overlap or found.hit_loss > max_hit_loss:
        raise ModelError(f"this model is not good enough in int8: {figures}; set another dtype", reason="INT8_GATE")
    _log.info("the int8 gate is passed", figures=figures)
    return found


def compare(
    recorded: Sequence[Recorded], before: Sequence[Sequence[Ranked]], after: Sequence[Sequence[Ranked]]
) -> Comparison:
    """Of two ranked lists for each prompt."""
    shares = [len(_tuples(a) & _tuples(b)) / len(a) for a, b in zip(before, after, strict=True)]
    return Comparison(len(recorded), sum(shares) / len(shares), _hits(recorded, before), _hits(recorded, after))


def _tuples(ranked: Sequence[Ranked]) -> set[tuple[str, tuple[int, ...]]]:
    return {(row.item_type, row.codes) for row in ranked}


def _hits(recorded: Sequence[Recorded], lists: Sequence[Sequence[Ranked]]) -> int:
    return sum(
        any(one.next == str(ItemKey(row.item_type, item)) for row in ranked[:_HIT] for item in row.item_ids)
        for one, ranked in zip(recorded, lists, strict=True)
    )


def _ranked(
    model: NeoModel, reader: Pins, recorded: Sequence[Recorded], normalization: Normalization
) -> list[Sequence[Ranked]]:
    """One after the other: what shares a pass, and so how it is rounded, must not be a matter of luck."""
    limits = EngineLimits(model.context_tokens, _LISTED, 1, 1)
    engine = LocalEngine(Decoder(model, reader, limits, normalization, max_running=1))
    lists = list[Sequence[Ranked]]()
    try:
        for one in recorded:
            (event,) = answer(engine, one.work())
            assert isinstance(event, RankedList)
            lists.append(event.ranked)
    except NeoError as error:
        raise ModelError(f"recorded prompt {len(lists) + 1} cannot be ranked: {error}") from error
    finally:
        engine.stop()
    return lists
