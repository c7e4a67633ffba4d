"""One line of interactions or queries, and the errors that say which line is wrong and what it should be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

from neo_runtime.errors import DataError
from neo_runtime.types import ItemKey

SECONDS_OF_A_DAY = 86_400
MAX_QUERY_STEPS = 32
LAST_DAY = 2_932_896  # 9999-12-31, and room for days that count from elsewhere
INTERACTION = '{"user": "u1", "item": "film/dune", "day": 14230}'
QUERY = '{"query": ["science fiction", "desert planet"], "item": "film/dune"}'

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
L = TypeVar("L")


class InteractionLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A user had to do with an item."""

    user: str
    item: str
    day: int | None = None
    """Whole days; since 1970, or from any day that is one for all lines of the user and type."""
    time: Moment | int | float | None = None
    """RFC 3339, or seconds since 1970: comparable between all users and types."""


class QueryLine(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What was searched for, in one or several steps, and what was the right answer."""

    query: str | list[str]
    item: str | None = None
    items: list[str] | None = None


class Interaction(msgspec.Struct, frozen=True):
    """A line that is right. `day` None: nothing but the order is known; `time_s` None: days of a user and type only."""

    user: str
    item: ItemKey
    day: int | None
    time_s: int | None


class Query(msgspec.Struct, frozen=True):
    """Steps of one search, first to last, and the items that answer it, all of one type."""

    steps: tuple[str, ...]
    items: tuple[ItemKey, ...]
    kind: str = "given"

    @property
    def text(self) -> str:
        return " ".join(self.steps)


_interaction = msgspec.json.Decoder(InteractionLine)
_query = msgspec.json.Decoder(QueryLine)


def parse_interaction(line: bytes, place: str) -> Interaction:
    """DataError names `place`, the field, and what to write."""
    found = _decoded(_interaction, line, place, INTERACTION)
    if not found.user:
        raise _wrong(place, "user is empty", INTERACTION)
    if found.day is not None and found.time is not None:
        raise _wrong(place, "day and time stand side by side, one of them is enough", INTERACTION)
    moment = found.time.timestamp() if isinstance(found.time, datetime) else found.time
    time_s = None if moment is None else int(moment)
    day = found.day if time_s is None else time_s // SECONDS_OF_A_DAY
    if day is not None and abs(day) > LAST_DAY:
        raise _wrong(place, f"day or time is out of range: {day} days (are the seconds milliseconds?)", INTERACTION)
    return Interaction(found.user, _key(found.item, "item", place, INTERACTION), day, time_s)


def parse_query(line: bytes, place: str) -> Query:
    """DataError names `place`, the field, and what to write."""
    found = _decoded(_query, line, place, QUERY)
    steps = (found.query,) if isinstance(found.query, str) else tuple(found.query)
    if not 0 < len(steps) <= MAX_QUERY_STEPS or not all(step.strip() for step in steps):
        raise _wrong(place, f"query is empty or has over {MAX_QUERY_STEPS} steps", QUERY)
    if (found.item is None) == (not found.items):
        raise _wrong(place, "one of item and items names what was meant", QUERY)
    field = "item" if found.item is not None else "items"
    keys = [_key(text, field, place, QUERY) for text in ([found.item] if found.item is not None else found.items or ())]
    if len({key.type for key in keys}) > 1:
        raise _wrong(place, "items are of several types; write a line for each type", QUERY)
    return Query(steps, tuple(dict.fromkeys(keys)))


def interaction_line(user: str, item: ItemKey, *, day: int | None = None, time_s: int | None = None) -> bytes:
    """What `parse_interaction` reads."""
    line: dict[str, object] = {"user": user, "item": str(item)}
    if time_s is not None:
        line["time"] = f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
    elif day is not None:
        line["day"] = day
    return msgspec.json.encode(line)


def _decoded(decoder: msgspec.json.Decoder[L], line: bytes, place: str, example: str) -> L:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise _wrong(place, str(error), example) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(place, f"not a JSON object ({error})", example) from error


def _key(text: str, field: str, place: str, example: str) -> ItemKey:
    try:
        return ItemKey.parse(text)
    except ValueError as error:
        raise _wrong(place, f"{field}: {error}", example) from error


def _wrong(place: str, what: str, example: str) -> DataError:
    message = f"{place}: {what}; write it as {example}"
    return DataError(message.encode(errors="backslashreplace").decode())
