"""Hypothesis strategies for input that was right once: bytes with damage, JSON with a value replaced, any message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)
Kind = FieldDescriptor

TEXTS = st.text(max_size=12) | st.sampled_from(["", " ", "film", "book", "f1", "x" * 300, "\0", "\U0001f600" * 9])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 1e308])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JSON_VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, *, first: int = 0, last: int | None = None) -> bytes:
    """`whole` cut off, or with bytes replaced, removed, inserted, repeated between `first` and `last`."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        end = min(len(content), len(whole) if last is None else last)
        start = draw(st.integers(min(first, end), end))
        stop = min(len(content), start + draw(st.integers(0, 16)))
        match draw(st.sampled_from(["replace", "remove", "insert", "repeat", "cut"])):
            case "replace":
                content[start:stop] = draw(st.binary(min_size=stop - start, max_size=stop - start))
            case "remove":
                del content[start:stop]
            case "insert":
                content[start:start] = draw(st.binary(max_size=16))
            case "repeat":
                content[start:start] = content[start:stop] * draw(st.integers(1, 40))
            case "cut":
                del content[start:]
    return bytes(content)


@st.composite
def rearranged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A JSON document with values replaced, removed or added at any depth."""
    root: list[Any] = [json.loads(whole)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root))
        parent, name = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "replace", "remove", "add", "wrap"])):
            case "replace":
                parent[name] = draw(JSON_VALUES)
            case "wrap":
                parent[name] = [parent[name]]
            case "remove" if isinstance(parent, dict):
                del parent[name]
            case "add" if isinstance(parent, dict):
                parent[draw(TEXTS)] = draw(JSON_VALUES)
    return json.dumps(root[0]).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) below `value`."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, child in list(pairs):
        found += [(value, name), *_places(child)]
    return found


_SCALARS: dict[int, Callable[[], st.SearchStrategy[Any]]] = {
    Kind.TYPE_STRING: lambda: TEXTS,
    Kind.TYPE_BYTES: lambda: st.binary(max_size=12),
    Kind.TYPE_BOOL: st.booleans,
    Kind.TYPE_DOUBLE: st.floats,
    Kind.TYPE_FLOAT: lambda: st.floats(width=32) | st.sampled_from([0.0, 0.5, 1.0]),
    Kind.TYPE_UINT32: lambda: st.integers(0, 12) | st.integers(0, 2**32 - 1),
    Kind.TYPE_UINT64: lambda: st.integers(0, 12) | st.integers(0, 2**64 - 1),
    Kind.TYPE_INT32: lambda: st.integers(-(2**31), 2**31 - 1),
    Kind.TYPE_INT64: lambda: st.integers(-(2**63), 2**63 - 1),
    Kind.TYPE_ENUM: lambda: st.integers(0, 6) | st.integers(-(2**31), 2**31 - 1),
}


def messages(kind: type[M]) -> st.SearchStrategy[M]:
    """Whatever the protobuf types allow; a message inside one of its own kind once at most."""
    return _fields(kind.DESCRIPTOR, ()).map(lambda fields: kind(**fields))


def _fields(descriptor: Descriptor, around: tuple[Descriptor, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """A oneof with several alternatives drawn keeps the last."""
    around = (*around, descriptor)
    fields = [field for field in descriptor.fields if around.count(field.message_type) < 2]
    return st.fixed_dictionaries({}, optional={field.name: _values(field, around) for field in fields})


def _values(field: FieldDescriptor, around: tuple[Descriptor, ...]) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        one = _SCALARS[field.type]()
    elif field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return st.dictionaries(_SCALARS[entry["key"].type](), _SCALARS[entry["value"].type](), max_size=3)
    else:
        one = _fields(field.message_type, around)
    return st.lists(one, max_size=4) if field.is_repeated else one
