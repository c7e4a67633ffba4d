"""Dead letters: what each reason means, what a record held, and the way back to where it came from."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from google.protobuf.message import DecodeError

from neo_runtime.catalog.records import DeadLetter
from neo_runtime.config import Settings
from neo_runtime.errors import EventError, StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.event import CONTENT_TYPE, PROTOBUF
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.publisher import KafkaDelivery, KafkaSink
from neo_runtime.v1.catalog_events_pb2 import ItemAvailabilityChanged, ItemEvent

REPLAYED = "neo.replayed"
FILE_PREFIX = "file:"
WAIT_S = 30.0
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

    def targets(self) -> dict[str, int]:
        """How many records go where."""
        found: dict[str, int] = {}
        for letter in self.kafka:
            found[letter.topic] = found.get(letter.topic, 0) + 1
        if self.lines:
            found[eventfile.NAME] = len(self.lines)
        return found


def plan(letters: Iterable[DeadLetter], *, has_kafka: bool) -> Plan:
    """Records of Kafka go back to their topic, lines of files to the catalog's event file."""
    found = Plan([], [], [])
    for letter in letters:
        is_line = letter.topic == eventfile.TOPIC or letter.topic.startswith(FILE_PREFIX)
        if is_line and has_kafka:
            why = "it came from a file; correct the line and publish it with `neo items publish`"
            found.impossible.append((letter, why))
        elif is_line:
            found.lines.append(letter)
        elif not has_kafka:
            found.impossible.append((letter, "it came from Kafka; give its address with --kafka"))
        elif letter.key is None:
            found.impossible.append((letter, "it has no key, and a compacted topic takes none without"))
        else:
            found.kafka.append(letter)
    return found


def replay(found: Plan, settings: Settings) -> int:
    """Put the records back, untouched but for a header that counts replays; returns how many.

    BrokerUnavailableError or EventError with the number of those that arrived; the rest can be replayed again.
    """
    if found.lines:
        eventfile.append(settings.catalog / eventfile.NAME, [letter.value or b"" for letter in found.lines])
    if found.kafka:
        _send_back(settings.kafka_bootstrap, found.kafka)
    return len(found.lines) + len(found.kafka)


def _send_back(bootstrap: str, letters: Sequence[DeadLetter]) -> None:
    with closing(KafkaSink(bootstrap)) as sink:
        under_way: deque[KafkaDelivery] = deque(sink.send(_record(letter)) for letter in letters)
        for number, delivery in enumerate(under_way):
            answered = delivery.wait(WAIT_S)
            if error := delivery.error():
                raise EventError(f"after {number} records that arrived: {error}", reason="VALUE_TOO_LARGE")
            if not answered:
                raise BrokerUnavailableError(f"after {number} records that arrived, {bootstrap} does not answer")


def _record(letter: DeadLetter) -> KafkaRecord:
    before = [value for name, value in letter.headers if name == REPLAYED and value is not None]
    times = int(before[-1]) + 1 if before and before[-1].isdigit() else 1
    headers = [(name, value or b"") for name, value in letter.headers if name != REPLAYED]
    return KafkaRecord(letter.topic, letter.key, letter.value, [*headers, (REPLAYED, str(times).encode())])


def advice(reason: str) -> str:
    return ADVICE.get(reason, "A later version of the runtime refused this; ask its documentation.")


def shown(letter: DeadLetter) -> str:
    """The value as far as it can be read: JSON laid out, protobuf as text, else its first bytes in hexadecimal."""
    if letter.value is None:
        return "null (a deletion)"
    content_type = dict(letter.headers).get(CONTENT_TYPE) or b""
    if content_type.startswith(PROTOBUF.encode()):
        for kind in (ItemEvent, ItemAvailabilityChanged):
            try:
                return str(kind.FromString(letter.value)) or "(an empty message)"
            except DecodeError:
                continue
    try:
        return json.dumps(json.loads(letter.value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    try:
        return letter.value[:SHOWN_BYTES].decode()
    except UnicodeDecodeError:
        return letter.value[:SHOWN_BYTES].hex(" ")


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
