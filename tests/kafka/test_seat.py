"""The assigners' seat in a consumer group, where polls are short and rebalances come when they want."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from neo_runtime.ingest import source
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.election import Seat
from tests.kit import brokers
from tests.kit.brokers import Topics

pytestmark = pytest.mark.kafka

ROUNDS = 20
SOON_S = 30


def test_a_rebalance_that_a_poll_cuts_short_is_finished(
    bootstrap: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POLL_MS", 5)  # joining takes longer
    name = f"{topics.assignments}.seat"
    brokers.make_topic(bootstrap, name)
    with closing(Seat(bootstrap, name, f"group.{name}", "member", session_timeout_s=6)) as seat:
        assert seat.decided.wait(SOON_S)
        for _ in range(ROUNDS):
            seat._ask(forget_what_was_assigned)
            deadline = time.monotonic() + SOON_S
            while not is_confirmed(seat):
                assert time.monotonic() < deadline, "the seat is in a rebalance for ever"
                time.sleep(0.02)
            assert seat.held


def forget_what_was_assigned(consumer: object) -> None:
    """As where the group knew of a topic before this member's metadata did."""
    consumer._coordinator._assignment_snapshot = {}  # type: ignore[attr-defined]


def is_confirmed(seat: Seat) -> bool:
    try:
        seat.confirm()
    except BrokerUnavailableError:
        return False
    return True
