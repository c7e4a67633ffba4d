"""`neo items publish` to Kafka: every event acknowledged, or one line that says what is wrong."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from neo_runtime.types import ItemKey
from tests.kit import brokers, changes, processes
from tests.kit.brokers import Topics
from tests.kit.changes import Change
from tests.kit.workers import kafka_worker

pytestmark = pytest.mark.kafka

SAID = [Change("film/f1", 1), Change("book/b1", 2), Change("film/f1", 3, title=None), Change("film/f2", 4, "Two")]
LINES = "".join(changes.line(change).decode() + "\n" for change in SAID)
SOON_S = 25  # on a slow machine


def assert_one_line_of_error(bootstrap: str, topic: str, *words: str) -> None:
    env = {"NEO_ITEMS_TOPIC": topic}
    done = processes.neo("items", "publish", "-", "--kafka", bootstrap, stdin=LINES, env=env, timeout=SOON_S)
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("neo: "), line
    assert line.endswith("[BROKER_UNAVAILABLE]"), line
    for word in words:
        assert word in line


def test_published_lines_reach_the_catalog(bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path) -> None:
    with kafka_worker(tmp_path, model_folder, bootstrap, topics) as worker:
        worker.start()
        env = {"NEO_ITEMS_TOPIC": topics.items}
        done = processes.neo("items", "publish", "-", "--kafka", bootstrap, "--json", stdin=LINES, env=env)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"events": len(SAID), "to": topics.items}
        worker.catch_up(bootstrap, topics)
        items = worker.reader.items([ItemKey("film", "f1"), ItemKey("book", "b1"), ItemKey("film", "f2")])
        assert {str(key): None if record.deleted else record.title for key, record in items.items()} == {
            "film/f1": None, "book/b1": "A title", "film/f2": "Two"
        }  # fmt: skip
        assert items[ItemKey("film", "f1")].event_time_us == SAID[2].time_us
        assert worker.stop() == 0


def test_one_bad_line_and_nothing_is_published(bootstrap: str, topics: Topics) -> None:
    brokers.make_topic(bootstrap, topics.items)
    env = {"NEO_ITEMS_TOPIC": topics.items}
    lines = LINES + '{"type": "film", "id": "no-title"}\n'
    done = processes.neo("items", "publish", "-", "--kafka", bootstrap, stdin=lines, env=env)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"line {len(SAID) + 1}" in line
    assert brokers.read_topic(bootstrap, topics.items) == []


def test_a_topic_that_does_not_exist_is_named(bootstrap: str, topics: Topics) -> None:
    assert_one_line_of_error(bootstrap, topics.items, topics.items, "neo catalog run")


def test_an_address_where_nobody_answers_is_named(topics: Topics) -> None:
    dead = f"127.0.0.1:{brokers.quiet_port()}"
    assert_one_line_of_error(dead, topics.items, dead)


def test_an_address_that_accepts_and_says_nothing_is_given_up(topics: Topics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_one_line_of_error(f"127.0.0.1:{silent.getsockname()[1]}", topics.items)


def test_an_event_too_large_for_the_broker_is_told_so(bootstrap: str, topics: Topics, tmp_path: Path) -> None:
    brokers.make_topic(bootstrap, topics.items)
    item = {"type": "film", "id": "large", "title": "Large", "embedding": [0.5] * 300_000}
    done = processes.neo(
        "items", "publish", "-", "--kafka", bootstrap, stdin=json.dumps(item), env={"NEO_ITEMS_TOPIC": topics.items}
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("[VALUE_TOO_LARGE]"), line
