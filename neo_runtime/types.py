"""Values that every layer uses. No behaviour beyond what a value needs."""

from __future__ import annotations

from typing import NamedTuple


class ItemKey(NamedTuple):
    """An item as the catalog team addresses it."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> ItemKey:
        """`type/id`, the form of Kafka keys and of the command line; an id may hold slashes. ValueError otherwise."""
        item_type, slash, item_id = text.partition("/")
        if not (item_type and slash and item_id):
            raise ValueError(f"{text!r} is not of the form type/id")
        return cls(item_type, item_id)


class Position(NamedTuple):
    """Where a record came from."""

    topic: str
    partition: int
    offset: int


Attribute = str | int | float | bool | list[str]
