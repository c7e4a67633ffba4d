"""Client library: values in, values out."""

from neo_runtime.client.client import AsyncNeoClient, NeoClient, generate_request, rank_request
from neo_runtime.client.errors import CallError
from neo_runtime.client.values import Event, Finish, Item, ItemSpan, RankedItem, Ranking, Start, Text, Warmed

__all__ = [
    "AsyncNeoClient",
    "CallError",
    "Event",
    "Finish",
    "Item",
    "ItemSpan",
    "NeoClient",
    "RankedItem",
    "Ranking",
    "Start",
    "Text",
    "Warmed",
    "generate_request",
    "rank_request",
]
