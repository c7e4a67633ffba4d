"""The engine in its own process: killed, hanging, fed with swaps; the front end stays, and says what happened."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from neo_runtime.client import CallError, NeoClient, generate_request, rank_request
from neo_runtime.config import Settings
from neo_runtime.engine import process
from neo_runtime.engine.api import Constraints, Decoding, EngineEvent, Finished, GenerateWork, RankedList, RankWork
from neo_runtime.engine.process import EngineProcess
from neo_runtime.engine.several import Engines
from neo_runtime.errors import ModelError, NeoError, OverloadedError, UnavailableError
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.snapshot.aliases import Target
from neo_runtime.snapshot.follow import open_source
from neo_runtime.snapshot.served import ServedCatalog, Source
from neo_runtime.trie.predicate import Condition, Exists, Predicate
from neo_runtime.types import ItemKey
from tests.kit import processes, running, tiny
from tests.kit.workers import until

PROMPT = Conversation((Turn("user", ("Recommend a film.",)),))
RANK = RankWork(PROMPT, constraints=Constraints(("film",)))
ENDLESS = GenerateWork(PROMPT, decoding=Decoding(max_output_tokens=8_000))  # greedy: it repeats itself for seconds


@contextmanager
def engine(tmp_path: Path, **settings: object) -> Iterator[tuple[EngineProcess, ServedCatalog]]:
    folder, model = tmp_path / "c", tmp_path / "model"
    if not model.exists():
        tiny.catalog(folder, 20).close()
        tiny.model(shape=tiny.LONG).save(model)
    source = open_source(folder, Target(), "", tiny.model().fingerprints)
    served = ServedCatalog(source)
    settings = {"max_backlog_seconds": 1e9, **settings}  # endless streams are a lot of work
    started = EngineProcess(Settings(catalog=folder, model=model, **settings), served)  # type: ignore[arg-type]
    try:
        started.wait()
        yield started, served
    finally:
        started.stop()
        served.close()


def films(events: list[EngineEvent]) -> set[str]:
    (ranked,) = events
    assert isinstance(ranked, RankedList)
    return {item for row in ranked.ranked for item in row.item_ids}


def test_answers_are_those_of_an_engine_in_this_process(tmp_path: Path) -> None:
    with engine(tmp_path) as (started, served):
        reader = served.source.reader
        theirs = running.answers(started, [RANK, GenerateWork(PROMPT)])
        with running.engine(tiny.model(shape=tiny.LONG), reader) as local:
            ours = running.answers(local, [RANK, GenerateWork(PROMPT)])
        assert films(theirs[0]) == films(ours[0])
        assert [type(event) for event in theirs[1]] == [type(event) for event in ours[1]]


def test_what_filters_cost_is_seen_by_whoever_is_scraped(tmp_path: Path) -> None:
    def evaluated() -> float:
        return REGISTRY.get_sample_value("neo_filter_evaluation_seconds_count") or 0.0

    with engine(tmp_path) as (started, _):
        before = evaluated()
        everything = Predicate(must_not=(Condition("nothing", Exists(True)),))
        assert films(
            running.answer(started, RankWork(PROMPT, constraints=Constraints(("film",), predicates=(everything,))))
        )
        until(lambda: evaluated() > before, "an observation", lambda: str(evaluated()))


def test_an_engine_that_is_killed_fails_what_it_was_at_and_another_one_answers(tmp_path: Path) -> None:
    told: list[bool] = []
    with engine(tmp_path) as (started, _):
        started.watch(told.append)
        for _ in range(2):
            inbox: queue.Queue[EngineEvent | NeoError] = queue.Queue()
            started.submit(ENDLESS, inbox.put)
            inbox.get(timeout=60)
            pid = started.pid
            os.kill(pid, signal.SIGKILL)
            last = until_the_end(inbox)[-1]
            assert isinstance(last, UnavailableError)
            assert last.reason == "ENGINE_LOST"
            with pytest.raises(UnavailableError, match="being started"):
                started.submit(RANK, inbox.put)
            until(lambda: told[-1] and started.pid != pid, "another engine", lambda: str(told))  # noqa: B023
            assert films(running.answer(started, RANK))
            assert inbox.empty()
        assert told == [True, False, True, False, True]


def test_an_engine_that_hangs_is_replaced_and_one_without_work_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LONGEST_SILENCE_S", 2.0)
    with engine(tmp_path) as (started, _):
        pid, inbox = started.pid, queue.Queue[EngineEvent | NeoError]()
        number = started.submit(ENDLESS, lambda event: None)
        started.pause(number)
        time.sleep(3)
        started.cancel(number)
        assert films(running.answer(started, RANK))
        assert started.pid == pid, "it had nothing to do"
        os.kill(pid, signal.SIGSTOP)
        started.submit(RANK, inbox.put)
        (lost,) = until_the_end(inbox)
        assert isinstance(lost, UnavailableError)
        assert lost.reason == "ENGINE_LOST"
        until(lambda: answered(started), "another engine", lambda: "")


def test_work_beyond_the_backlog_is_refused_and_the_rest_answered(tmp_path: Path) -> None:
    with engine(tmp_path, max_backlog_seconds=1e-9) as (started, _):
        number = started.submit(ENDLESS, lambda event: None)
        with pytest.raises(OverloadedError) as caught:
            started.submit(RANK, lambda event: None)
        assert caught.value.reason == "BACKLOG_FULL"
        started.cancel(number)
        assert films(running.answer(started, RANK))


def test_int8_is_judged_once_and_a_catalog_that_changed_does_not_keep_the_engine_away(tmp_path: Path) -> None:
    gate = tmp_path / "recorded.jsonl"
    gate.write_text('{"type": "film"}\n')
    with engine(tmp_path, dtype="int8", gate=gate, gate_min_overlap=0.1) as (started, _):
        assert films(running.answer(started, RANK))
        gate.write_text('{"type": "song"}\n')
        os.kill(started.pid, signal.SIGKILL)
        until(lambda: answered(started), "another engine", lambda: "")


def test_an_engine_that_comes_back_serves_what_was_swapped_to_meanwhile(tmp_path: Path) -> None:
    with engine(tmp_path) as (started, served):
        before = films(running.answer(started, RANK))
        other = other_catalog(tmp_path)
        os.kill(started.pid, signal.SIGKILL)
        served.swap(other)
        until(lambda: answered(started) == {"only"}, "the other catalog", lambda: "")
        assert served.swap_back(Target())
        assert films(running.answer(started, RANK)) == before
        served.close_unheld()
        assert films(running.answer(started, RANK)) == before


def answered(started: EngineProcess) -> set[str]:
    try:
        return films(running.answer(started, RANK))
    except UnavailableError:
        return set()


def test_what_the_engine_cannot_open_is_not_served(tmp_path: Path) -> None:
    with engine(tmp_path) as (started, served):
        before = films(running.answer(started, RANK))
        other = tiny.catalog(tmp_path / "other", 3)
        other.close()
        source = open_source(tmp_path / "other", Target("other"), "other", tiny.model().fingerprints)
        (tmp_path / "other" / "data.mdb").unlink()
        with pytest.raises(NeoError):
            served.swap(source)
        assert films(running.answer(started, RANK)) == before


def test_an_engine_that_cannot_start_is_a_startup_error_with_its_reason(tmp_path: Path) -> None:
    tiny.model().save(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    tiny.catalog(tmp_path / "c", 3).close()
    with pytest.raises(ModelError, match="cannot be loaded"), engine(tmp_path):
        pass


def test_what_does_not_fit_the_queue_is_refused_and_the_rest_answered(tmp_path: Path) -> None:
    with engine(tmp_path, max_running=2, max_queued=3) as (started, _):
        inboxes: list[queue.Queue[EngineEvent | NeoError]] = [queue.Queue() for _ in range(5)]
        for inbox in inboxes:
            started.submit(RANK, inbox.put)
        with pytest.raises(OverloadedError):
            [started.submit(ENDLESS, lambda event: None) for _ in range(6)]
        assert all(isinstance(inbox.get(timeout=60), RankedList) for inbox in inboxes)


def test_ten_thousand_cancelled_streams_leave_nothing_behind(tmp_path: Path) -> None:
    with engine(tmp_path) as (started, _):

        def cancel(streams: int) -> None:
            for _ in range(streams // 20):
                numbers = [started.submit(ENDLESS, lambda event: None) for _ in range(20)]
                time.sleep(0.002)
                for number in numbers:
                    started.cancel(number)
                until(lambda: not started.running, "an idle engine", lambda: str(started.running))

        cancel(1_000)
        after_a_thousand = processes.resident(started.pid)
        cancel(9_000)
        assert processes.resident(started.pid) < after_a_thousand + 20_000_000
        assert films(running.answer(started, RANK))


def test_over_grpc_health_tells_of_the_loss_and_the_worker_stays(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 20).close()
    tiny.model().save(tmp_path / "model")
    with (
        processes.serving(tmp_path / "c", tmp_path / "model", tmp_path) as address,
        NeoClient(address) as client, grpc.insecure_channel(address) as channel,
    ):  # fmt: skip
        health = health_pb2_grpc.HealthStub(channel)
        instance, pid = client.serving_info().instance_id, engine_pid()
        os.kill(pid, signal.SIGSTOP)  # or it might be done before it is killed
        with ThreadPoolExecutor(1) as thread:
            stream = thread.submit(lambda: list(client.generate(generate_request("Talk."))))
            until(lambda: client.serving_info().queued_requests, "a request at the engine", lambda: "")
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(CallError) as caught:
                stream.result(60)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert caught.value.reason == "ENGINE_LOST"
        assert is_serving(health) is False
        until(lambda: is_serving(health), "a healthy worker", lambda: "")
        request = rank_request("film", history=[ItemKey("film", "f1")])
        assert client.rank(request).results
        assert client.serving_info().instance_id == instance


def test_with_several_engines_one_that_is_lost_is_not_missed(tmp_path: Path) -> None:
    with engine(tmp_path) as (first, served):
        second = EngineProcess(Settings(catalog=tmp_path / "c", model=tmp_path / "model"), served)
        second.wait()
        both, told = Engines([first, second]), list[bool]()
        both.watch(told.append)
        assert all(map(films, running.answers(both, [RANK] * 6)))
        streams: list[queue.Queue[EngineEvent | NeoError]] = [queue.Queue(), queue.Queue()]
        for stream in streams:
            both.submit(ENDLESS, stream.put)
            until(lambda: both.running + both.queued >= 1, "a running stream", lambda: "")
        assert (first.running + first.queued, second.running + second.queued) == (1, 1)
        os.kill(second.pid, signal.SIGKILL)
        lost = [event for event in until_the_end(streams[1]) if isinstance(event, UnavailableError)]
        assert len(lost) == 1
        assert films(running.answer(both, RANK))
        served.swap(other_catalog(tmp_path))
        assert films(running.answer(both, RANK)) == {"only"}
        until(lambda: second.limits and second.running == 0 and answered(second) == {"only"}, "both", lambda: "")
        assert told == [True]
        second.stop()


def until_the_end(inbox: queue.Queue[EngineEvent | NeoError]) -> list[EngineEvent | NeoError]:
    events = [inbox.get(timeout=60)]
    while not isinstance(events[-1], NeoError | Finished):
        events.append(inbox.get(timeout=60))
    return events


def other_catalog(tmp_path: Path) -> Source:
    other = tiny.catalog(tmp_path / "other", 0)
    other.apply([tiny.upsert("film/only")])
    other.close()
    return open_source(tmp_path / "other", Target("other"), "other", tiny.model().fingerprints)


def is_serving(health: health_pb2_grpc.HealthStub) -> bool:
    status: int = health.Check(health_pb2.HealthCheckRequest()).status
    return status == health_pb2.HealthCheckResponse.SERVING


def engine_pid() -> int:
    """Of the engine below the worker below this process."""
    (worker,) = (pid for pid in processes.children(os.getpid()) if b"serve" in command(pid))
    (found,) = (pid for pid in processes.children(worker) if b"engine.child" in command(pid))
    return found


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
