"""What an operator sees of the catalog workers: metrics of every role, and the lag, also of a server without Kafka."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.kit import brokers, changes, processes
from tests.kit.brokers import Record, Topics
from tests.kit.workers import kafka_worker

pytestmark = pytest.mark.kafka


def scraped(port: int) -> dict[str, float]:
    """Samples by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


def test_lag_rates_sizes_generation_dead_letters_and_role(
    bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path
) -> None:
    ports = {role: processes.free_port() for role in ("assigner", "replica")}
    for role in ports:
        (tmp_path / role).mkdir()
    log = changes.random_changes(31, 300, tombstones=True)
    with (
        kafka_worker(
            tmp_path / "assigner", model_folder, bootstrap, topics, metrics_port=str(ports["assigner"])
        ) as assigner,
        kafka_worker(
            tmp_path / "replica", model_folder, bootstrap, topics, metrics_port=str(ports["replica"]), role="replica"
        ) as replica,
    ):
        assigner.start()
        replica.start()
        brokers.send(bootstrap, topics.items, map(changes.record, log))
        brokers.send(bootstrap, topics.items, [Record(b"film/bad", b"{", [], 0)])
        assigner.catch_up(bootstrap, topics)

        def lag(partition: int) -> str:
            return f'neo_ingest_lag_records{{partition="{partition}",topic="{topics.items}"}}'

        def settled() -> bool:
            found = scraped(ports["assigner"])
            return found.get("neo_outbox_records") == 0 and lag(2) in found and found["neo_ingest_delay_seconds"] == 0

        assigner.wait(settled, "metrics of a worker that has caught up")
        found = scraped(ports["assigner"])
        assert [found[lag(partition)] for partition in range(3)] == [0, 0, 0]
        assert found["neo_catalog_generation"] == assigner.reader.state().generation
        assert found["neo_ingest_batch_records_sum"] == 301
        assert found["neo_ingest_batch_seconds_count"] == found["neo_ingest_batch_records_count"] > 0
        assert found['neo_dead_letters{reason="UNDECODABLE"}'] == 1
        published = brokers.read_topic(bootstrap, topics.assignments)
        assert found["neo_outbox_published_records"] == len(published) + 1, "and the dead letter"
        assert found['neo_events_applied_total{outcome="upserted"}'] == assigner.counters()["upserted"]
        roles = {role: f'neo_catalog_role{{neo_catalog_role="{role}"}}' for role in ports}
        assert (found[roles["assigner"]], found[roles["replica"]]) == (1, 0)
        assert scraped(ports["replica"])[roles["replica"]] == 1

        with processes.serving(assigner.catalog, model_folder, tmp_path) as address:
            assigner.wait(lambda: status(address)["lag"], "a lag in the catalog")
            parts = [part for part in status(address)["lag"] if part["topic"] == topics.items]
            assert sorted(int(part["partition"]) for part in parts) == [0, 1, 2]
            assert {part["next_offset"] == part["end_offset"] for part in parts} == {True}
            shown = processes.neo("status", "--address", address)
            assert "lag 0 ·" in shown.stdout


def status(address: str) -> dict[str, list[dict[str, str]]]:
    done = processes.neo("status", "--address", address, "--json")
    assert done.returncode == 0, done.stderr
    catalog: dict[str, list[dict[str, str]]] = json.loads(done.stdout)["catalog"]
    return catalog
