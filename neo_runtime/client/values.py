"""What a client gets back: plain values, no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neo_runtime.types import Attribute, ItemKey
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1 import generation_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Item:
    """A catalog item, resolved."""

    key: ItemKey
    title: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One place of a ranking. `items` has more than one entry where items share a semantic ID."""

    items: tuple[Item, ...]
    logprob: float
    codes: tuple[int, ...] = ()

    @property
    def item(self) -> Item:
        """The best of `items`."""
        return self.items[0]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds; of the prompt's tokens, `cached_prompt_tokens` were remembered by the worker."""

    prompt_tokens: int
    cached_prompt_tokens: int
    text_tokens: int
    sid_tokens: int
    queue_time_s: float
    prefill_time_s: float
    decode_time_s: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Answer of `rank`: best first."""

    results: tuple[RankedItem, ...]
    generation: int
    snapshot: str
    unknown_history_items: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Warmed:
    """Answer of `warm`: the prompt's tokens as the catalog is in `generation` of `snapshot`, and how many of them were
    remembered before."""

    prompt_tokens: int
    cached_prompt_tokens: int
    generation: int
    snapshot: str
    unknown_history_items: int


@dataclass(frozen=True, slots=True)
class Start:
    """First event of a stream."""

    response_id: str
    generation: int
    snapshot: str
    unknown_history_items: int


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ItemSpan:
    """An item in the stream, valid in `generation` of `snapshot`, with the alternatives that were asked for."""

    index: int
    ranked: RankedItem
    alternatives: tuple[RankedItem, ...]
    generation: int
    snapshot: str

    @property
    def item(self) -> Item:
        return self.ranked.item


@dataclass(frozen=True, slots=True)
class Finish:
    """Last event of a whole stream."""

    reason: str
    stop_sequence: str
    usage: Usage


Event = Start | Text | ItemSpan | Finish


def ranked_item(message: pb.RankedItem) -> RankedItem:
    items = tuple(
        Item(
            ItemKey(entry.item.item_type, entry.item.item_id),
            entry.title,
            {name: attribute(value) for name, value in entry.attributes.items()},
        )
        for entry in message.items
    )
    return RankedItem(items, message.logprob, tuple(message.sid.codes))


def attribute(value: catalog_pb2.AttributeValue) -> Attribute:
    """A message as the plain value that it holds; a time as RFC 3339 text."""
    kind = value.WhichOneof("kind")
    if kind == "string_list":
        return list(value.string_list.values)
    if kind == "time_value":
        return str(value.time_value.ToJsonString())
    plain: str | int | float | bool = getattr(value, kind) if kind else ""
    return plain


def usage(message: pb.Usage) -> Usage:
    return Usage(
        message.prompt_tokens,
        message.cached_prompt_tokens,
        message.text_tokens,
        message.sid_tokens,
        message.queue_time.ToNanoseconds() / 1e9,
        message.prefill_time.ToNanoseconds() / 1e9,
        message.decode_time.ToNanoseconds() / 1e9,
    )


class EventReader:
    """Messages of one stream to events; usage is kept for the end."""

    def __init__(self) -> None:
        self._usage = Usage(0, 0, 0, 0, 0.0, 0.0, 0.0)

    def read(self, message: pb.GenerateResponse) -> Event | None:
        """None for usage, and for kinds that a newer server may send."""
        kind = message.WhichOneof("event")
        if kind == "start":
            start = message.start
            return Start(
                start.response_id, start.catalog.generation, start.catalog.snapshot, start.unknown_history_items
            )
        if kind == "text_delta":
            return Text(message.text_delta.text)
        if kind == "item_span":
            span = message.item_span
            others = tuple(ranked_item(entry) for entry in span.alternatives)
            return ItemSpan(span.index, ranked_item(span.item), others, span.catalog.generation, span.catalog.snapshot)
        if kind == "usage":
            self._usage = usage(message.usage)
        if kind == "finish":
            reason = pb.Finish.Reason.Name(message.finish.reason).removeprefix("REASON_").lower()
            return Finish(reason, message.finish.stop_sequence, self._usage)
        return None
