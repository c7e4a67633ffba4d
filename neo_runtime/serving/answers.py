"""Engine values to protobuf answers, with SIDs resolved to items that clients know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

from neo_runtime.catalog.item import ItemRecord
from neo_runtime.engine.api import Ranked, Usage
from neo_runtime.types import Attribute, ItemKey
from neo_runtime.v1 import catalog_pb2
from neo_runtime.v1 import generation_service_pb2 as pb


class AnswerWriter:
    """Engine values to messages, with items resolved to titles and the attributes that were asked for."""

    def __init__(
        self,
        options: pb.ResponseOptions,
        codebooks: Mapping[str, str],
        records: Callable[[Collection[ItemKey], str], Mapping[ItemKey, ItemRecord]],
    ) -> None:
        self._options, self._codebooks, self._records = options, codebooks, records

    def ranked(self, rows: Sequence[Ranked], snapshot: str) -> list[pb.RankedItem]:
        """Titles come from where the rows were decoded; none of an item that was deleted since."""
        keys = [ItemKey(row.item_type, item_id) for row in rows for item_id in row.item_ids]
        records = self._records(keys, snapshot)
        return [self._row(row, records) for row in rows]

    def _row(self, row: Ranked, records: Mapping[ItemKey, ItemRecord]) -> pb.RankedItem:
        message = pb.RankedItem(logprob=row.logprob)
        for item_id in row.item_ids:
            record = records.get(ItemKey(row.item_type, item_id))  # None: its deletion is forgotten already
            item = message.items.add(title=record.title if record else "")
            item.item.item_type, item.item.item_id = row.item_type, item_id
            for name in self._options.attributes:
                if record and name in record.attributes:
                    item.attributes[name].CopyFrom(attribute_value(record.attributes[name]))
        if self._options.include_sids:
            message.sid.item_type, message.sid.codebook = row.item_type, self._codebooks[row.item_type]
            message.sid.codes.extend(row.codes)
        return message


def attribute_value(value: Attribute) -> catalog_pb2.AttributeValue:
    """One stored attribute as a message."""
    if isinstance(value, bool):
        return catalog_pb2.AttributeValue(bool_value=value)
    if isinstance(value, int):
        return catalog_pb2.AttributeValue(int_value=value)
    if isinstance(value, float):
        return catalog_pb2.AttributeValue(double_value=value)
    if isinstance(value, str):
        return catalog_pb2.AttributeValue(string_value=value)
    return catalog_pb2.AttributeValue(string_list=catalog_pb2.AttributeValue.StringList(values=value))


def usage_message(usage: Usage) -> pb.Usage:
    message = pb.Usage(
        prompt_tokens=usage.prompt_tokens, cached_prompt_tokens=usage.cached_prompt_tokens,
        text_tokens=usage.text_tokens, sid_tokens=usage.sid_tokens,
    )  # fmt: skip
    message.queue_time.FromTimedelta(timedelta(seconds=usage.queue_time_s))
    message.prefill_time.FromTimedelta(timedelta(seconds=usage.prefill_time_s))
    message.decode_time.FromTimedelta(timedelta(seconds=usage.decode_time_s))
    return message
