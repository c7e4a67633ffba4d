"""A transaction of which a record fails leaves nothing, however kafka-python takes the failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka.errors import OutOfOrderSequenceNumberError
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.sender import Sender

from neo_runtime.ingest import transactions
from neo_runtime.ingest.broker import BrokerUnavailableError
from neo_runtime.ingest.outgoing import KafkaRecord
from neo_runtime.ingest.transactions import TransactionalProducer
from neo_runtime.types import Position
from tests.kit import brokers
from tests.kit.brokers import Topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def producer(bootstrap: str, topics: Topics) -> Iterator[TransactionalProducer]:
    brokers.make_topic(bootstrap, topics.items, partitions=2)
    with closing(TransactionalProducer(bootstrap, topics.items)) as connected:
        connected.connect()
        yield connected


def time_out(patched: pytest.MonkeyPatch) -> None:
    """The second partition's batches, as after a broker was away for long."""
    patched.setattr(
        ProducerBatch, "has_reached_delivery_timeout", lambda batch, *_: batch.topic_partition.partition == 1
    )


def lose_the_order(patched: pytest.MonkeyPatch) -> None:
    """The broker says so of the second partition's batches."""
    complete = Sender._complete_batch

    def answered(sender: Any, batch: Any, response: Any) -> None:
        if batch.topic_partition.partition == 1:
            sender._complete_batch_with_exception(batch, OutOfOrderSequenceNumberError("out of order"))
        else:
            complete(sender, batch, response)

    patched.setattr(Sender, "_complete_batch", answered)


@pytest.mark.parametrize(
    ("fail", "said"), [(time_out, "has passed since batch creation"), (lose_the_order, "out of order")]
)
def test_one_record_that_fails_takes_the_others_with_it_and_they_can_be_sent_again(
    producer: TransactionalProducer, bootstrap: str, topics: Topics, monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None], said: str,
) -> None:  # fmt: skip
    records = [KafkaRecord(topics.items, b"%d" % number, b"", []) for number in range(8)]
    with monkeypatch.context() as patched:
        patched.setattr(transactions, "LOOK_EVERY_MS", 10_000)  # the commit would be through sooner
        fail(patched)
        with pytest.raises(BrokerUnavailableError, match=said):
            producer.publish(records)
    assert brokers.read_topic(bootstrap, topics.items) == []
    producer.connect()
    places = producer.publish(records)
    found = brokers.read_topic(bootstrap, topics.items)
    assert sorted(record.key for record in found) == [record.key for record in records]
    assert {record.partition for record in found} == {0, 1}
    assert sorted(places) == [Position(record.topic, record.partition, record.offset) for record in found]
