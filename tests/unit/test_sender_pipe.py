"""What a worker hands to its sender: never a wait, and an answer to everything, whatever becomes of the sender."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from neo_runtime.errors import StartupError
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.outgoing import Parcel
from neo_runtime.ingest.publisher import WINDOW_BYTES, Refusal
from neo_runtime.ingest.sender import Answer, Connect, Publish, Setup
from neo_runtime.ingest.sender_process import SenderProcess, SenderSink
from tests.kit import tiny

LARGE = Publish([Parcel(number, b"x" * (1 << 20)) for number in range(2 * WINDOW_BYTES >> 20)])
ENDED = Refusal("publishing: the sender has ended")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    for book in tiny.codebooks().values():
        book.save(tmp_path)
    return Setup("127.0.0.1:1", "an id", "assignments", "0a1b2c3d", str(tmp_path))


@pytest.fixture
def sender(setup: Setup) -> Iterator[SenderProcess]:
    process = SenderProcess()
    try:
        process.ask(setup).confirm()
        yield process
    finally:
        process.close()


def test_a_full_pipe_keeps_nobody_waiting(sender: SenderProcess) -> None:
    os.kill(sender.pid, signal.SIGSTOP)
    asked = [sender.ask(LARGE) for _ in range(3)]
    assert not any(delivery.wait(0) for delivery in asked)
    os.kill(sender.pid, signal.SIGCONT)
    for delivery in asked:
        while not delivery.wait(1.0):
            pass
        assert "not connected" in str(delivery.refusal()), "all of it got there"
    assert not sender.is_lost


def test_killed_in_the_middle_of_a_message_it_has_answered_everything(sender: SenderProcess) -> None:
    os.kill(sender.pid, signal.SIGSTOP)
    asked = [sender.ask(LARGE), sender.ask(Connect())]
    os.kill(sender.pid, signal.SIGKILL)
    for delivery in asked:
        while not delivery.wait(1.0):
            pass
        assert delivery.refusal() == ENDED
    assert sender.is_lost
    with pytest.raises(BrokerUnavailableError, match="has ended"):
        sender.ask(Connect()).confirm()


def test_one_that_hangs_is_given_up(sender: SenderProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neo_runtime.ingest.sender_process.GIVEN_UP_S", 0.0)
    os.kill(sender.pid, signal.SIGSTOP)
    delivery = sender.ask(LARGE)
    while not delivery.wait(0):
        time.sleep(0.01)
    assert (delivery.refusal(), sender.is_lost) == (ENDED, True)


def test_what_it_cannot_start_with_is_said_as_it_is(setup: Setup, tmp_path: Path) -> None:
    with closing(SenderProcess()) as process, pytest.raises(StartupError, match="no codebook"):
        process.ask(Setup("", "", "", "", str(tmp_path / "nowhere"))).confirm()


def test_a_mistake_of_ours_is_no_outage() -> None:
    with pytest.raises(RuntimeError, match="Traceback"):
        Answer([], "KeyError('x')", "Traceback …").raise_failure()


def test_no_process_is_started_for_a_broker_that_is_away(setup: Setup) -> None:
    sink = SenderSink(setup, before=lambda: None, after=lambda: None)
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers"):
        sink.send([Parcel(0, b"")])
    assert not sink.is_busy()
    sink.close()
