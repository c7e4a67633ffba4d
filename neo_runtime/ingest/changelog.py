"""The assignments topic as a changelog: what became of an item to a Kafka record, and back, to the last bit.

The topic is compacted, so it holds the newest state of every item, and a catalog that reads it from its start is equal
to the one that wrote it. Who wrote a record stands in its header: after a takeover a catalog has to tell what it said
itself from what its successor said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError

from neo_runtime.catalog.item import ItemRecord, RawRecord, Rejected, Stored
from neo_runtime.catalog.records import Assignment
from neo_runtime.errors import EventError, MismatchError
from neo_runtime.ingest.event import CONTENT_TYPE, PROTOBUF, attribute, attribute_value, rejected
from neo_runtime.sid.codebook import Codebook, fingerprints
from neo_runtime.types import ItemKey
from neo_runtime.v1.catalog_events_pb2 import SidAssigned
from neo_runtime.v1.catalog_pb2 import ItemRef, SemanticId

ASSIGNER = "neo.assigner"
Headers = list[tuple[str, bytes]]


class Changelog:
    """Both directions, for the item types of `codebooks`. `catalog_id`: in whose name records are written."""

    def __init__(self, codebooks: Mapping[str, Codebook], catalog_id: str) -> None:
        self._codebooks, self._catalog_id = dict(codebooks), catalog_id
        self._fingerprints = fingerprints(codebooks)

    def encode(self, assignment: Assignment) -> tuple[bytes, bytes | None, Headers]:
        """Key, value and headers."""
        key, record = str(assignment.key).encode(), assignment.record
        assigner = (ASSIGNER, f"{self._catalog_id}:{assignment.generation}".encode())
        if record is None:
            return key, None, [assigner]
        message = self._message(assignment.key, record, assignment.generation)
        return key, message.SerializeToString(deterministic=True), [(CONTENT_TYPE, PROTOBUF.encode()), assigner]

    def _message(self, key: ItemKey, record: ItemRecord, generation: int) -> SidAssigned:
        item = ItemRef(item_type=key.type, item_id=key.id)
        source = SidAssigned.Source(
            topic=record.source_topic, partition=record.source_partition, offset=record.source_offset
        )
        if record.deleted:
            message = SidAssigned(item=item, generation=generation, deleted=True, source=source)
        else:
            space = self._codebooks[key.type].space
            codes, nearest = space.unpack_one(record.sid_key), space.unpack_one(record.path_key)
            message = SidAssigned(
                item=item, generation=generation, source=source,
                sid=SemanticId(item_type=key.type, codes=codes, codebook=self._fingerprints[key.type]),
                nearest_codes=nearest if nearest != codes else (),
                title=record.title, description=record.description, popularity=record.popularity,
                attributes={name: attribute_value(value) for name, value in record.attributes.items()},
                quantization_error=record.quantization_error, content_hash=record.content_hash,
            )  # fmt: skip
        message.event_time.FromMicroseconds(record.event_time_us)
        return message

    def decode(self, record: RawRecord) -> Stored | Rejected:
        """What a record of the topic says. MismatchError where its codes are of another codebook than ours."""
        try:
            return self._decode(record)
        except EventError as error:
            return rejected(record, error)

    def _decode(self, record: RawRecord) -> Stored:
        try:
            key = ItemKey.parse((record.key or b"").decode())
            origin, _, generation = dict(record.headers)[ASSIGNER].decode().partition(":")  # type: ignore[union-attr]
            message = None if record.value is None else SidAssigned.FromString(record.value)
        except (ValueError, KeyError, AttributeError, DecodeError) as error:
            raise EventError(f"not a record of an assigner: {error!r}", reason="UNDECODABLE") from error
        if not generation.isdecimal():
            raise EventError(f"header {ASSIGNER} names no generation", reason="UNDECODABLE")
        state = None if message is None else self._state(key, message)
        return Stored(key, state, origin, int(generation), record)

    def _state(self, key: ItemKey, message: SidAssigned) -> ItemRecord:
        source = (message.source.topic, message.source.partition, message.source.offset)
        time_us = message.event_time.ToMicroseconds()
        if message.deleted:
            return ItemRecord("", "", {}, 0.0, time_us, True, 0, 0, 0.0, b"", *source)
        if not message.HasField("source"):
            raise EventError("the record holds a SID alone, as earlier versions wrote it", reason="MISSING_FIELD")
        sid = self._packed(key, message.sid.codebook, message.sid.codes)
        nearest = self._packed(key, message.sid.codebook, message.nearest_codes) if message.nearest_codes else sid
        attributes = {name: attribute(name, message.attributes[name]) for name in sorted(message.attributes)}
        return ItemRecord(
            message.title, message.description, attributes, message.popularity, time_us, False,
            sid, nearest, message.quantization_error, message.content_hash, *source,
        )  # fmt: skip

    def _packed(self, key: ItemKey, fingerprint: str, codes: Sequence[int]) -> int:
        if fingerprint != self._fingerprints.get(key.type):
            raise MismatchError(
                f"{key} was assigned with codebook {fingerprint or 'none'}, this catalog has "
                f"{self._fingerprints.get(key.type, 'none')}; make the catalog anew with the assigner's codebooks"
            )
        try:
            return self._codebooks[key.type].space.pack_one(list(codes))
        except ValueError as error:
            raise EventError(f"codes {list(codes)} do not fit the codebook: {error}", reason="INVALID_VALUE") from error
