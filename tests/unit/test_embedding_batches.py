"""What the embedding stage takes at once, and in which order it gives: offsets last, and never by halves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.structs import TopicPartition
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.errors import StartupError
from neo_runtime.ingest import embedding
from neo_runtime.ingest.embedding import EmbeddingStage
from neo_runtime.ingest.event import JSON, encode
from neo_runtime.types import ItemKey, Position

SOURCE, TARGET = "items", "items.embedded"


class Broker:
    """One partition of two topics, and a group's offset in the first. `journal`: what was asked of it, in order."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.log = [
            SimpleNamespace(
                topic=SOURCE, partition=0, offset=offset, key=b"film/f%d" % offset, value=value, headers=(), timestamp=7
            )
            for offset, value in enumerate(values)
        ]
        self.committed, self.target, self.journal = 0, list[bytes](), list[str]()
        self.refusals: list[Exception] = []
        self.generations: list[int] = []
        self.lags: list[float | None] = []
        self.rebalances: list[bool] = []
        self.gone = False
        self.stop = threading.Event()


class Consumer:
    """Reads on from the group's offset."""

    def __init__(self, broker: Broker, options: dict[str, Any]) -> None:
        self._broker, self._limit, self._next = broker, options["max_poll_records"], broker.committed
        self._coordinator = SimpleNamespace(
            rebalance_in_progress=lambda: bool(broker.rebalances) and broker.rebalances.pop(0),
            request_rejoin=lambda: broker.journal.append("rejoin"),
        )

    def subscribe(self, topics: list[str]) -> None:
        assert topics == [SOURCE]

    def poll(self, timeout_ms: int) -> dict[str, list[Any]]:
        if self._broker.journal:
            self._broker.lags.append(told_lag())
        records = self._broker.log[self._next : self._next + self._limit]
        self._next += len(records)
        if not records:
            self._broker.stop.set()
            return {}
        self._broker.journal.append(f"poll {len(records)}")
        return {"items-0": records}

    def group_metadata(self) -> Any:
        return SimpleNamespace(generation_id=self._broker.generations.pop(0) if self._broker.generations else 1)

    def assignment(self) -> set[TopicPartition]:
        return set() if self._broker.gone and self._next == len(self._broker.log) else {TopicPartition(SOURCE, 0)}

    def highwater(self, partition: TopicPartition) -> int:
        return len(self._broker.log)

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        return self._next

    def close(self, **options: Any) -> None:
        """Nothing is left behind."""


class Producer:
    """What is sent appears when its transaction is committed, with the offsets."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._transaction_manager = broker, self
        self._sender = SimpleNamespace(wakeup=lambda: None, force_close=lambda: None, join=lambda timeout: None)
        self._sent: list[bytes] = []
        self._offset = 0

    def begin_transaction(self) -> None:
        self._sent = []

    def send(self, topic: str, *, value: bytes, **options: Any) -> None:
        assert (topic, options["partition"], options["timestamp_ms"]) == (TARGET, 0, 7)
        self._sent.append(value)

    def send_offsets_to_transaction(self, ends: dict[Any, Any], group: Any) -> Any:
        (end,) = ends.values()
        self._offset = end.offset
        self._broker.journal.append(f"offset {end.offset} after {len(self._sent)} records")
        return answer(None)

    def begin_commit(self) -> Any:
        if self._broker.refusals:
            return answer(self._broker.refusals.pop(0))
        self._broker.journal.append("commit")
        self._broker.committed = self._offset
        self._broker.target += self._sent
        return answer(None)

    def close(self, **options: Any) -> None:
        """What was not committed is gone."""


class Embedder:
    """`taken`: how many texts at once."""

    name, dimension = "fake@1", 2

    def __init__(self) -> None:
        self.taken: list[int] = []

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        self.taken.append(len(texts))
        return np.ones((len(texts), 2), np.float32)


def answer(error: Exception | None) -> Any:
    return SimpleNamespace(is_done=True, exception=error, wait=lambda timeout_ms: None)


def told_lag() -> float | None:
    return REGISTRY.get_sample_value("neo_ingest_lag_records", {"topic": SOURCE, "partition": "0"})


def upsert(number: int, words: int = 1) -> bytes:
    source = RawRecord(Position("", 0, 0), None, None)
    event = Upsert(ItemKey("film", f"f{number}"), 1, "Film", "robots " * words, {}, 0.5, None, "", source)
    return encode(event, JSON).value or b""


def follow(broker: Broker, monkeypatch: pytest.MonkeyPatch, **limits: int) -> Embedder:
    """A member until it has read everything."""
    monkeypatch.setattr(embedding, "dial", lambda bootstrap: None)
    monkeypatch.setattr(embedding, "KafkaConsumer", lambda **options: Consumer(broker, options))
    monkeypatch.setattr(embedding, "transactional_producer", lambda *place: Producer(broker))
    embedder = Embedder()
    EmbeddingStage("broker:1", SOURCE, TARGET, embedder, **limits).run(broker.stop)
    return embedder


def test_a_batch_is_cut_by_records_and_by_bytes_and_no_record_is_too_large_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = [upsert(number) for number in range(5)], upsert(5, words=500)
    broker = Broker([*small, large, upsert(6)])
    embedder = follow(broker, monkeypatch, max_batch=4, max_batch_bytes=3 * len(small[0]))
    assert embedder.taken == [3, 1, 1, 1, 1], "four records polled: 3 + 1; then one, the large one, the last"
    assert broker.committed == len(broker.target) == 7


def test_offsets_are_committed_with_the_records_before_them_and_one_batch_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker([upsert(number) for number in range(5)])
    follow(broker, monkeypatch, max_batch=3)
    assert broker.journal == [
        "poll 3", "offset 3 after 3 records", "commit", "poll 2", "offset 5 after 2 records", "commit",
    ]  # fmt: skip


def test_a_member_whose_poll_ran_out_amid_joining_asks_to_join_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker([upsert(number) for number in range(5)])
    broker.rebalances = [True, False]
    follow(broker, monkeypatch, max_batch=3)
    assert broker.journal == [
        "poll 3", "rejoin", "offset 3 after 3 records", "commit", "poll 2", "offset 5 after 2 records", "commit",
    ]  # fmt: skip


def test_a_batch_that_the_broker_did_not_take_is_read_and_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker([upsert(number) for number in range(3)])
    broker.refusals = [KafkaError("not now")]
    embedder = follow(broker, monkeypatch)
    assert broker.journal == [
        "poll 3", "offset 3 after 3 records", "poll 3", "offset 3 after 3 records", "commit",
    ]  # fmt: skip
    assert (embedder.taken, broker.committed, len(broker.target)) == ([3, 3], 3, 3)


def test_a_member_that_the_group_has_dropped_forwards_nothing_in_nobodys_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker([upsert(number) for number in range(3)])
    broker.generations = [-1]
    embedder = follow(broker, monkeypatch)
    assert broker.journal == ["poll 3", "poll 3", "offset 3 after 3 records", "commit"]
    assert embedder.taken == [3], "what it could not forward was not embedded"


def test_an_event_too_large_for_the_target_ends_the_stage_and_says_what_to_raise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker([upsert(0)])
    broker.refusals = [MessageSizeTooLargeError("1048588")]
    with pytest.raises(StartupError, match=r"'items\.embedded'.*raise its max\.message\.bytes"):
        follow(broker, monkeypatch)
    assert (broker.committed, broker.target) == (0, [])


def test_the_lag_is_what_is_left_of_the_partitions_that_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker([upsert(number) for number in range(5)])
    follow(broker, monkeypatch, max_batch=2)
    assert broker.lags == [3, 1, 0]
    broker = Broker([upsert(number) for number in range(5)])
    broker.gone = True
    follow(broker, monkeypatch, max_batch=2)
    assert broker.lags == [3, 1, None], "another member has the partition now, and tells its lag"
