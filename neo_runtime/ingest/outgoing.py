"""What waits in a catalog's outbox, as Kafka records: assignments and dead letters."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from neo_runtime.catalog.records import DeadLetter, Outgoing
from neo_runtime.ingest.changelog import Changelog

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
    partition: int | None = None
    """None: the key decides."""
    timestamp_ms: int | None = None
    """None: now."""


class Parcel(NamedTuple):
    """A record of the outbox: its number, and its content as it lies there."""

    number: int
    content: bytes
    cut: int = 0
    """See OutgoingEncoder."""


class OutgoingEncoder:
    """What goes where."""

    def __init__(self, assignments_topic: str, changelog: Changelog) -> None:
        self.assignments_topic, self._changelog = assignments_topic, changelog
        self._decode = msgspec.msgpack.Decoder(Outgoing).decode

    def unpack(self, parcel: Parcel) -> KafkaRecord:
        """What a parcel is in Kafka."""
        return self.encode(self._decode(parcel.content), parcel.cut)

    def encode(self, outgoing: Outgoing, cut: int = 0) -> KafkaRecord:
        """`cut` 1 leaves out a dead letter's value, 2 also its key and headers: the broker found more too large."""
        if isinstance(outgoing, DeadLetter):
            return _dead_letter(outgoing, cut)
        return KafkaRecord(self.assignments_topic, *self._changelog.encode(outgoing))


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
