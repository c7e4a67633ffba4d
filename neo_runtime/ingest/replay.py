"""Dead letters: what each reason means, what a record held, and the way back to where it came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.text_format import MessageToString

from neo_runtime.catalog.records import DeadLetter
from neo_runtime.config import Settings
from neo_runtime.errors import StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.event import CONTENT_TYPE, PROTOBUF
from neo_runtime.ingest.outgoing import OMITTED_RECORD, OMITTED_VALUE, KafkaRecord
from neo_runtime.ingest.producing import publish_records
from neo_runtime.v1.catalog_events_pb2 import ItemAvailabilityChanged, ItemEvent

REPLAYED = "neo.replayed"
FILE_PREFIX = "file:"
SHOWN_BYTES = 512

ADVICE = {
    "UNDECODABLE": "The bytes are not what their content type or key promises. Correct the producer's encoding and "
    "publish the item again; the same bytes will be refused again.",
    "UNKNOWN_CONTENT_TYPE": "Set the content-type header to application/json or application/protobuf.",
    "KEY_MISMATCH": "The record's key and the item in its value differ. Send type/id of the item as the key.",
    "MISSING_FIELD": "A field that every event needs is not there. Add it and publish the item again.",
    "INVALID_VALUE": "A value breaks a rule of the catalog, as the message says. Correct it and publish again.",
    "VALUE_TOO_LARGE": "A text, a list or the whole record is over its limit. Shorten it and publish again.",
    "UNKNOWN_TYPE": "The catalog has no codebook for this item type. Correct the type; or serve it from a catalog "
    "whose codebooks know it, and replay there.",
    "EMBEDDING_MISSING": "The event carries no embedding and the worker has no embedder. Start it with --embedder, "
    "then replay.",
    "EMBEDDING_MISMATCH": "The embedding is of another model or length than the codebooks. Embed with the model that "
    "they were fitted with, or leave the embedding out.",
    "CODEBOOK_FULL": "No semantic ID near the item is free. Items that went make room: replay then; or fit codebooks "
    "with more codes or levels (`neo sids report` helps to choose).",
}
"""Reason to what it means and what to do."""


class Plan(NamedTuple):
    """What replaying some letters would do: letters by where they go, and those that cannot, with why."""

    kafka: list[DeadLetter]
    lines: list[DeadLetter]
    impossible: list[tuple[DeadLetter, str]]

    def counts(self) -> Counter[tuple[str, str]]:
        """How many records go where, by target and reason."""
        records = Counter((letter.topic, letter.reason) for letter in self.kafka)
        return records + Counter((eventfile.NAME, letter.reason) for letter in self.lines)


def plan(letters: Iterable[DeadLetter], *, has_kafka: bool, assignments_topic: str) -> Plan:
    """Records of Kafka go back to their topic, lines of files to the catalog's event file."""
    found = Plan([], [], [])
    for letter in letters:
        if why := _obstacle(letter, has_kafka=has_kafka, assignments_topic=assignments_topic):
            found.impossible.append((letter, why))
        else:
            (found.lines if _is_line(letter) else found.kafka).append(letter)
    return found


def _is_line(letter: DeadLetter) -> bool:
    return letter.topic == eventfile.TOPIC or letter.topic.startswith(FILE_PREFIX)


def _obstacle(letter: DeadLetter, *, has_kafka: bool, assignments_topic: str) -> str:
    """Why the letter cannot be put back, and what to do; empty where it can."""
    notes = {name for name, _ in letter.headers}
    if notes & {OMITTED_VALUE, OMITTED_RECORD} or (_is_line(letter) and letter.value is None):
        # Sent as it is, a record without its value would delete the item.
        return "its value was left out, so there is nothing to put back; publish the item again from its source"
    if _is_line(letter):
        return "it came from a file; correct the line and publish it with `neo items publish`" if has_kafka else ""
    if letter.topic == assignments_topic:
        return "only an assigner writes to that topic; publish the item again, and its assigner will"
    if not has_kafka:
        return "it came from Kafka; give its address with --kafka or NEO_KAFKA_BOOTSTRAP"
    if letter.key is None:
        return "it has no key, and a compacted topic takes none without; publish the item again with type/id as the key"
    return ""


def replay(found: Plan, settings: Settings) -> int:
    """Put the records back, untouched but for a header that counts replays; returns how many. Headers that were null
    become empty ones: kafka-python sends no others. Partition and time stay theirs: a producer may have chosen the
    partition in its own way, and an event that names no time would overtake what was said of its item since.

    BrokerUnavailableError or EventError with the number of those that arrived; the rest can be replayed again.
    """
    if found.lines:
        eventfile.append(settings.catalog / eventfile.NAME, [letter.value or b"" for letter in found.lines])
    if found.kafka:
        publish_records(settings.kafka_bootstrap, map(_record, found.kafka))
    return len(found.lines) + len(found.kafka)


def _record(letter: DeadLetter) -> KafkaRecord:
    before = [value for name, value in letter.headers if name == REPLAYED and value is not None]
    times = int(before[-1]) + 1 if before and before[-1].isdigit() else 1
    headers = [(name, value or b"") for name, value in letter.headers if name != REPLAYED]
    return KafkaRecord(
        letter.topic, letter.key, letter.value, [*headers, (REPLAYED, str(times).encode())],
        letter.partition, letter.timestamp_us // 1_000 or None,
    )  # fmt: skip


def advice(reason: str) -> str:
    return ADVICE.get(reason, "A later version of the runtime refused this; ask its documentation.")


def shown(letter: DeadLetter, *, availability_topic: str) -> str:
    """The value as far as it can be read: JSON laid out, protobuf as text, else its first bytes in hexadecimal."""
    if letter.value is None:
        return "null" if _obstacle(letter, has_kafka=True, assignments_topic="") else "null (a deletion)"
    kind = ItemAvailabilityChanged if letter.topic == availability_topic else ItemEvent
    content_type = dict(letter.headers).get(CONTENT_TYPE) or b""
    is_protobuf = content_type.startswith(PROTOBUF.encode())
    if is_protobuf and (message := _message(kind, letter.value)) is not None:
        return MessageToString(message, as_utf8=True) or "(an empty message)"
    try:
        laid_out = json.dumps(json.loads(letter.value), indent=2, ensure_ascii=False)
        return laid_out.encode(errors="backslashreplace").decode()  # half a surrogate pair cannot be printed
    except (ValueError, RecursionError):
        pass
    message = _message(kind, letter.value)
    if message is not None and message.item.item_type:  # its content type is wrong, or is not there
        return MessageToString(message, as_utf8=True)
    try:
        return letter.value[:SHOWN_BYTES].decode()
    except UnicodeDecodeError:
        return letter.value[:SHOWN_BYTES].hex(" ")


def _message(
    kind: type[ItemEvent] | type[ItemAvailabilityChanged], value: bytes
) -> ItemEvent | ItemAvailabilityChanged | None:
    try:
        return kind.FromString(value)
    except DecodeError:
        return None


def chosen(
    letters: Sequence[tuple[int, DeadLetter]], numbers: Sequence[int], reason: str, *, all_of_them: bool
) -> list[DeadLetter]:
    """By number, by reason, or all. StartupError where that names none or is not said in one way."""
    if (len(numbers) > 0) + bool(reason) + all_of_them != 1:
        raise StartupError("say which letters: their numbers, or --reason, or --all")
    known = dict(letters)
    missing = [number for number in numbers if number not in known]
    if missing:
        raise StartupError(
            f"there is no dead letter {missing[0]}; `neo catalog dead-letters` shows those that are kept"
        )
    return [
        letter
        for number, letter in letters
        if all_of_them or number in numbers or (bool(reason) and letter.reason == reason)
    ]
