"""What an answer says of items that went away while it was decoded."""

from __future__ import annotations

from neo_runtime.engine.api import Ranked
from neo_runtime.serving.answers import AnswerWriter
from neo_runtime.v1 import generation_service_pb2 as pb


def test_an_item_whose_deletion_is_forgotten_already_is_named_without_its_title() -> None:
    writer = AnswerWriter(pb.ResponseOptions(attributes=["genre"]), {}, lambda keys, snapshot: {})
    (row,) = writer.ranked([Ranked("film", (1, 2, 3), ("f1",), -1.0)], "a snapshot")
    assert [(item.item.item_id, item.title, dict(item.attributes)) for item in row.items] == [("f1", "", {})]
