"""What waits in a catalog's outbox, as Kafka records: assignments and dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from neo_runtime.catalog.records import Assignment, DeadLetter, Outgoing
from neo_runtime.ingest.event import CONTENT_TYPE, PROTOBUF
from neo_runtime.v1.catalog_events_pb2 import SidAssigned
from neo_runtime.v1.catalog_pb2 import ItemRef, SemanticId

DEAD_LETTER_SUFFIX = ".dlq"
OMITTED_VALUE = "neo.errors.value.omitted"
OMITTED_RECORD = "neo.errors.record.omitted"
MAX_MESSAGE_BYTES = 4_096


class KafkaRecord(NamedTuple):
    """What a producer sends."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class OutgoingEncoder:
    """`codebooks`: item type to fingerprint, which gives the published codes their meaning."""

    def __init__(self, assignments_topic: str, codebooks: Mapping[str, str]) -> None:
        self._assignments_topic, self._codebooks = assignments_topic, dict(codebooks)

    def encode(self, outgoing: Outgoing, cut: int = 0) -> KafkaRecord:
        """`cut` 1 leaves out a dead letter's value, 2 also its key and headers: the broker found more too large."""
        if isinstance(outgoing, DeadLetter):
            return _dead_letter(outgoing, cut)
        return self._assignment(outgoing)

    def _assignment(self, assignment: Assignment) -> KafkaRecord:
        key = str(assignment.key).encode()
        if not assignment.codes:
            return KafkaRecord(self._assignments_topic, key, None, [])
        item_type, item_id = assignment.key
        sid = SemanticId(item_type=item_type, codes=assignment.codes, codebook=self._codebooks[item_type])
        message = SidAssigned(
            item=ItemRef(item_type=item_type, item_id=item_id), sid=sid,
            quantization_error=assignment.quantization_error, generation=assignment.generation,
        )  # fmt: skip
        message.event_time.FromMicroseconds(assignment.event_time_us)
        headers = [(CONTENT_TYPE, PROTOBUF.encode())]
        return KafkaRecord(self._assignments_topic, key, message.SerializeToString(deterministic=True), headers)


def _dead_letter(letter: DeadLetter, cut: int) -> KafkaRecord:
    """Key, value and headers as they came, and the headers that Kafka Connect's tools read."""
    key, value = letter.key, letter.value
    headers = [(name, content or b"") for name, content in letter.headers]
    notes = _notes(letter)
    if cut >= 1 and value is not None:
        notes.append((OMITTED_VALUE, f"{len(value)} bytes, too large for the broker".encode()))
        value = None
    if cut >= 2:
        notes.append((OMITTED_RECORD, b"key and headers too: too large for the broker"))
        key, headers = None, []
    if key is None and value is None:
        value = b""  # kafka-python sends no record without both
    return KafkaRecord(letter.topic + DEAD_LETTER_SUFFIX, key, value, headers + notes)


def _notes(letter: DeadLetter) -> list[tuple[str, bytes]]:
    time = Timestamp()
    time.FromMicroseconds(letter.time_us)
    message = letter.message.encode(errors="backslashreplace")[:MAX_MESSAGE_BYTES]
    return [
        ("__connect.errors.topic", letter.topic.encode()),
        ("__connect.errors.partition", str(letter.partition).encode()),
        ("__connect.errors.offset", str(letter.offset).encode()),
        ("__connect.errors.exception.message", message.decode(errors="ignore").encode()),
        ("neo.errors.reason", letter.reason.encode()),
        ("neo.errors.time", time.ToJsonString().encode()),
    ]
