"""Teachers: templates, a language model, an endpoint that fails now and then, and the file of answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.errors import StartupError
from neo_runtime.training.teacher import Ask, CachedTeacher, Progress, TemplateTeacher, facts, question
from neo_runtime.training.teacher_models import EndpointTeacher, LocalTeacher
from tests.kit import tiny

ITEMS = [
    tiny.upsert(f"film/{n}", title=f"Film {n}", mood="calm" if n % 2 else "loud", rare=f"r{n // 2}") for n in range(8)
]
REASON = Ask((ITEMS[0], ITEMS[1]), ITEMS[2])
PROFILE = Ask((ITEMS[0], ITEMS[2], ITEMS[3]), None)


def test_templates_name_shared_facts_and_a_taste() -> None:
    teacher = TemplateTeacher(ITEMS)
    reason, profile = teacher.answers([REASON, PROFILE])
    assert reason == "a film of rare r1. You like mood loud."
    assert profile == "Likes rare r1 and mood loud."


def test_templates_say_no_more_than_they_know() -> None:
    bare = [tiny.upsert("film/a"), tiny.upsert("film/b")]
    teacher = TemplateTeacher(bare)
    assert teacher.answers([Ask((bare[0],), bare[1]), Ask((bare[0],), None)]) == [
        "a film, liked by people with your taste.", "Likes film items.",
    ]  # fmt: skip
    assert facts(bare[0]) == []


class Counting:
    """Answers with the number of the ask, and counts them."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        self.asked += len(asks)
        return [question(ask)[-40:] for ask in asks]


def test_a_run_again_asks_nothing_twice(tmp_path: Path) -> None:
    file, asks = tmp_path / "deep" / "labels.jsonl", [REASON, PROFILE, REASON]
    first, second = Counting(), Counting()
    found = CachedTeacher(first, file).answers(asks)
    assert first.asked == 2
    assert CachedTeacher(second, file).answers([*asks, Ask((ITEMS[4],), None)])[:3] == found
    assert second.asked == 1


def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    CachedTeacher(Counting(), file).answers([REASON])
    file.write_text(file.read_text()[:-10])
    again, third = Counting(), Counting()
    found = CachedTeacher(again, file).answers([REASON])
    assert again.asked == 1
    assert CachedTeacher(third, file).answers([REASON]) == found
    assert third.asked == 0, "what was cut off is not in the way of what came after it"


@contextmanager
def endpoint(reply: Callable[[int], tuple[int, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and the requests that came; `reply` gives status and body of the n-th."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "authorization": self.headers.get("Authorization"), **body})
            status, answer = reply(len(seen) - 1)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def test_an_endpoint_is_asked_as_openai_would_be() -> None:
    with endpoint(lambda n: (200, completion(f"answer\n {n}"))) as (url, seen):
        teacher = EndpointTeacher(url, "big", key="secret", at_once=1)
        assert teacher.answers([REASON, PROFILE]) == ["answer 0", "answer 1"]
    assert {request["path"] for request in seen} == {"/v1/chat/completions"}
    assert {request["authorization"] for request in seen} == {"Bearer secret"}
    assert seen[0]["model"] == "big"
    assert "Film 2" in seen[0]["messages"][0]["content"]


def test_passing_failures_are_tried_again() -> None:
    replies: list[tuple[int, Any]] = [(503, "busy"), (429, "slow down"), (200, "no json"), (200, completion("at last"))]
    with endpoint(lambda n: replies[n]) as (url, seen):
        assert EndpointTeacher(url, "big", wait_s=0.0).answers([REASON]) == ["at last"]
    assert len(seen) == 4


def test_a_failure_that_stays_names_the_endpoint() -> None:
    with endpoint(lambda _: (500, "broken")) as (url, seen):
        with pytest.raises(StartupError, match="status 500: broken"):
            EndpointTeacher(url, "big", attempts=3, wait_s=0.0).answers([REASON])
        assert len(seen) == 3


def test_a_refusal_is_not_tried_again() -> None:
    with endpoint(lambda _: (401, "who are you")) as (url, seen):
        with pytest.raises(StartupError, match="status 401"):
            EndpointTeacher(url, "big", wait_s=0.0).answers([REASON])
        assert len(seen) == 1


def test_nobody_there_and_nonsense_are_one_line() -> None:
    with pytest.raises(StartupError, match="is no address"):
        EndpointTeacher("localhost", "big")
    with pytest.raises(StartupError, match="run again to go on"):
        EndpointTeacher("http://127.0.0.1:9/v1", "big", attempts=1).answers([REASON])
    with (
        endpoint(lambda _: (200, {"error": "no"})) as (url, _),
        pytest.raises(StartupError, match="no chat completion"),
    ):
        EndpointTeacher(url, "big").answers([REASON])


def test_any_local_decoder_can_teach(tmp_path: Path) -> None:
    model = tiny.model()
    model.save(tmp_path)
    asks = [Ask((ITEMS[0],), None), REASON, PROFILE]
    said = LocalTeacher(str(tmp_path), at_once=2).answers(asks)
    assert said == [LocalTeacher(str(tmp_path)).answers([ask])[0] for ask in asks], "company changes no answer"
    assert all(said)
    with pytest.raises(StartupError, match="no model can be loaded"):
        LocalTeacher(str(tmp_path / "nowhere")).answers(asks)
