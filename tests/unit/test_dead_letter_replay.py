"""Dead letters: every reason is explained, a record is shown as far as it can be read, and goes back where it was."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import RawRecord, Rejected
from neo_runtime.catalog.records import DeadLetter
from neo_runtime.errors import StartupError
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.event import PROTOBUF, encode
from neo_runtime.ingest.line import decode_line
from neo_runtime.ingest.outgoing import OMITTED_RECORD, OMITTED_VALUE
from neo_runtime.ingest.replay import ADVICE, REPLAYED, Plan, _record, advice, chosen, plan
from neo_runtime.ingest.replay import shown as shown_of
from neo_runtime.types import Position
from neo_runtime.v1.catalog_events_pb2 import ItemAvailabilityChanged
from tests.kit import processes, tiny

ROOT = Path(__file__).parents[2] / "neo_runtime"
NO_LETTERS = {"OFFSET_OUT_OF_RANGE", "READERS_FULL"}  # of processes that cannot go on, not of records


def letter(topic: str = "items", reason: str = "UNDECODABLE", **fields: object) -> DeadLetter:
    values: dict[str, object] = {"key": b"film/a", "value": b"{", "headers": [], **fields}
    return DeadLetter(topic, 0, 7, values["key"], values["value"], values["headers"], reason, "why", 1)  # type: ignore[arg-type]


def shown(given: DeadLetter) -> str:
    return shown_of(given, availability_topic="availability")


def planned(letters: list[DeadLetter], *, has_kafka: bool) -> Plan:
    return plan(letters, has_kafka=has_kafka, assignments_topic="assignments")


def test_every_reason_that_refuses_a_record_is_explained() -> None:
    sources = [path for name in ("catalog", "ingest", "sid") for path in (ROOT / name).glob("*.py")]
    given = {reason for path in sources for reason in re.findall(r'reason="([A-Z_]+)"', path.read_text())}
    given |= {"UNDECODABLE", "INVALID_VALUE", "MISSING_FIELD"}  # chosen by an expression in line.py
    assert set(ADVICE) == given - NO_LETTERS
    assert advice("OF_ANOTHER_VERSION")


def test_a_value_is_shown_as_far_as_it_can_be_read() -> None:
    said = encode(replace(tiny.upsert("film/a"), embedding=None), PROTOBUF)
    headers = [(name, value) for name, value in said.headers]
    assert 'title: "Title of a"' in shown(letter(value=said.value, headers=headers))
    assert shown(letter(value=b'{"a": "\xc3\xb6"}')) == '{\n  "a": "ö"\n}'
    assert shown(letter(value=b"{ no json")) == "{ no json"
    assert shown(letter(value=b"\xff\x00")) == "ff 00"
    assert shown(letter(value=None)) == "null (a deletion)"
    assert shown(letter(value=None, headers=[(OMITTED_VALUE, b"9 bytes")])) == "null"
    assert shown(letter(value=b'"\\ud800"')) == '"\\ud800"'
    assert 'title: "Title of a"' in shown(letter(value=said.value, headers=[("content-type", b"application/x")]))


def test_a_value_is_read_as_what_its_topic_holds() -> None:
    fact = ItemAvailabilityChanged(windows=[{"regions": ["de"]}])
    headers = [("content-type", PROTOBUF.encode())]
    assert 'regions: "de"' in shown(letter("availability", value=fact.SerializeToString(), headers=headers))
    assert "windows" not in shown(letter("items", value=fact.SerializeToString(), headers=headers))


def test_records_go_back_to_their_topic_and_lines_to_the_event_file() -> None:
    lines = [letter("file:a.jsonl"), letter(eventfile.TOPIC)]
    records = [letter("items"), letter("availability"), letter("items")]
    assert planned(lines, has_kafka=False).counts() == {(eventfile.NAME, "UNDECODABLE"): 2}
    other = letter("items", reason="UNKNOWN_TYPE")
    assert planned([*records, other], has_kafka=True).counts() == {
        ("items", "UNDECODABLE"): 2, ("availability", "UNDECODABLE"): 1, ("items", "UNKNOWN_TYPE"): 1
    }  # fmt: skip
    stays = planned([*lines, letter("items", key=None)], has_kafka=True)
    assert (stays.counts(), len(stays.impossible)) == ({}, 3)
    assert len(planned(records, has_kafka=False).impossible) == 3


@pytest.mark.parametrize("note", [OMITTED_VALUE, OMITTED_RECORD])
def test_a_record_whose_value_was_left_out_stays_since_without_it_it_would_delete_the_item(note: str) -> None:
    found = planned([letter(value=None, headers=[(note, b"too large")])], has_kafka=True)
    assert found.counts() == {}
    assert "left out" in found.impossible[0][1]
    assert planned([letter(value=None)], has_kafka=True).counts() == {("items", "UNDECODABLE"): 1}
    assert planned([letter("file:a.jsonl", value=None)], has_kafka=False).counts() == {}


def test_nothing_is_written_among_the_assigners_records() -> None:
    ((_, why),) = planned([letter("assignments")], has_kafka=True).impossible
    assert "only an assigner" in why


def test_a_record_goes_back_untouched_but_for_a_count() -> None:
    headers = [("content-type", b"application/json"), ("trace", b"1"), ("trace", None)]
    first = _record(letter(headers=headers))
    assert (first.topic, first.key, first.value) == ("items", b"film/a", b"{")
    assert first.headers == [("content-type", b"application/json"), ("trace", b"1"), ("trace", b""), (REPLAYED, b"1")]
    assert _record(letter(headers=list(first.headers))).headers[-1] == (REPLAYED, b"2")


@pytest.mark.parametrize("said", [([], "", False), ([1], "UNDECODABLE", False), ([], "UNDECODABLE", True)])
def test_which_letters_must_be_said_in_one_way(said: tuple[list[int], str, bool]) -> None:
    with pytest.raises(StartupError, match="say which letters"):
        chosen([(1, letter())], said[0], said[1], all_of_them=said[2])


def letters_of(folder: Path, *arguments: str, answer: str | None = None) -> CompletedProcess[str]:
    command = ("catalog", "dead-letters", *arguments, "--catalog", str(folder))
    return processes.neo(*command, env={"COLUMNS": "200", "NEO_KAFKA_BOOTSTRAP": ""}, stdin=answer)


def test_a_line_that_is_put_back_is_followed_again_and_may_fail_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    made = Catalog.create(folder, tiny.codebooks())
    lines = [b'{"type": "film", "id": "a", "title": "A"}', b'{"type": "none", "id": "b", "title": "B"}']
    made.apply([decode_line(line, Position(eventfile.TOPIC, 0, 10 * n), 1) for n, line in enumerate(lines)])
    made.close()

    def neo(*arguments: str) -> str:
        done = letters_of(folder, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(neo("--json"))
    assert [(row["number"], row["reason"]) for row in listed["dead_letters"]] == [
        (0, "EMBEDDING_MISSING"), (1, "UNKNOWN_TYPE")
    ]  # fmt: skip
    assert json.loads(neo("--json", "--reason", "UNKNOWN_TYPE"))["dead_letters"][0]["number"] == 1
    assert json.loads(neo("--json", "--since", "2999-01-01"))["dead_letters"] == []
    told = json.loads(neo("explain", "1", "--json"))
    assert told["advice"] == ADVICE["UNKNOWN_TYPE"]
    assert '"title": "B"' in told["value"]
    assert json.loads(neo("replay", "1", "--dry-run", "--json")) == {
        "records": [{"count": 1, "reason": "UNKNOWN_TYPE", "target": eventfile.NAME}], "stay": 0,
        "changed_since": 0, "replayed": 0,
    }  # fmt: skip
    unasked = letters_of(folder, "replay", "1", "--json")
    assert unasked.returncode != 0
    assert "--yes" in unasked.stderr
    declined = letters_of(folder, "replay", "--all", answer="n\n")
    assert "1 UNKNOWN_TYPE to events.jsonl" in declined.stdout
    assert not (folder / eventfile.NAME).exists()
    assert "put back 2" in neo("replay", "--all", "--yes")
    assert (folder / eventfile.NAME).read_bytes().splitlines() == lines


def test_records_of_kafka_are_shown_whatever_they_hold_and_stay_without_a_broker(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    made = Catalog.create(folder, tiny.codebooks())
    headers = (("trace", b"1"), ("trace", b"2"))
    hostile = RawRecord(Position("items", 0, 1), b"[/b]", b"\x1b[31m[/b] \xc2\x9b", headers, 1)
    half = RawRecord(Position("items", 0, 2), b"film/a", b'{"title": "\\ud800"}', (), 1)
    made.apply([Rejected(record, "UNDECODABLE", "it says [/b]") for record in (hostile, half)])
    made.close()
    listed = letters_of(folder)
    assert listed.returncode == 0, listed.stderr
    assert "it says [/b]" in listed.stdout
    told = letters_of(folder, "explain", "0")
    assert "\\x1b[31m[/b] \\x9b" in told.stdout
    assert "trace: 1\ntrace: 2" in told.stdout
    assert "\\ud800" in letters_of(folder, "explain", "1").stdout
    stays = letters_of(folder, "replay", "--all", "--yes")
    assert stays.returncode == 1
    assert "NEO_KAFKA_BOOTSTRAP" in stays.stderr


@pytest.mark.parametrize("command", [("explain", "0"), ("replay", "--all", "--yes")])
def test_an_option_before_the_command_is_refused_since_it_would_name_another_catalog(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = processes.neo("catalog", "dead-letters", "--catalog", str(tmp_path), *command)
    assert done.returncode == 2
    assert "--catalog" in done.stderr
