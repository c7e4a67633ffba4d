"""Any state that a catalog can hold goes through the assignments topic and comes out with the same bytes."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.catalog.item import ItemRecord, RawRecord, Stored
from neo_runtime.catalog.records import Assignment
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.types import ItemKey, Position
from tests.kit import tiny

BOOKS = tiny.codebooks()
WRITER, READER = Changelog(BOOKS, "0a1b2c3d"), Changelog(BOOKS, "ffffffff")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
attributes = st.dictionaries(
    texts, texts | st.integers(-(2**63), 2**63 - 1) | floats | st.booleans() | st.lists(texts, max_size=4), max_size=6
).map(lambda found: dict(sorted(found.items())))


@st.composite
def records(draw: st.DrawFn, kind: str) -> ItemRecord:
    source = (draw(texts), draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 2**63 - 1)))
    time_us = draw(st.integers(0, 253_402_300_799_999_999))
    if draw(st.booleans()):
        return ItemRecord("", "", {}, 0.0, time_us, True, 0, 0, 0.0, b"", *source)
    space = BOOKS[kind].space
    codes = [draw(st.tuples(*(st.integers(0, size - 1) for size in space.level_sizes))) for _ in range(2)]
    sid, path = map(space.pack_one, codes if draw(st.booleans()) else [codes[0]] * 2)
    error = float(np.float32(draw(st.floats(0, 1e6))))
    return ItemRecord(
        draw(texts), draw(texts), draw(attributes), draw(floats), time_us, False, sid, path, error,
        draw(st.binary(max_size=16)), *source,
    )  # fmt: skip


@given(st.data(), st.sampled_from(sorted(BOOKS)), st.integers(0, 2**63))
def test_a_state_comes_out_as_it_went_in(data: st.DataObject, kind: str, generation: int) -> None:
    key, record = ItemKey(kind, "a/ö"), data.draw(records(kind))
    sent = WRITER.encode(Assignment(*key, record, generation))
    source = RawRecord(Position("assignments", 0, 0), sent[0], sent[1], tuple(sent[2]))
    read = READER.decode(source)
    assert read == Stored(key, record, "0a1b2c3d", generation, source)
    assert isinstance(read, Stored)
    assert msgspec.msgpack.encode(read.record) == msgspec.msgpack.encode(record)
