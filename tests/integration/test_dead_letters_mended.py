"""A refused line of the event file, put back once its cause is mended, is applied by the worker that follows."""

from __future__ import annotations

import json
from pathlib import Path

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.ingest import eventfile
from neo_runtime.types import ItemKey
from tests.kit import processes, tiny
from tests.kit.workers import catalog_worker

FOUR_PLACES = {"film": (2, 2)}


def line(item_id: str) -> bytes:
    vector = tiny.vector(ItemKey("film", item_id)).tolist()
    said = {"type": "film", "id": item_id, "title": item_id, "embedding": vector, "embedding_model": tiny.EMBEDDER}
    return json.dumps(said).encode()


def test_an_item_that_found_no_place_gets_one_after_another_went(model_folder: Path, tmp_path: Path) -> None:
    with catalog_worker(tmp_path, model_folder) as worker:
        Catalog.create(worker.catalog, tiny.codebooks(FOUR_PLACES)).close()
        events = worker.catalog / eventfile.NAME
        eventfile.append(events, [line(item_id) for item_id in "abcde"])
        worker.start()
        worker.wait(lambda: worker.counters().get("dead_letters.CODEBOOK_FULL") == 1, "a letter")
        assert worker.reader.item(ItemKey("film", "e")) is None
        eventfile.append(events, [b'{"type": "film", "id": "a", "deleted": true}'])
        worker.wait(lambda: worker.reader.item(ItemKey("film", "a")).deleted, "a free place")
        done = processes.neo(
            "catalog", "dead-letters", "replay", "--reason", "CODEBOOK_FULL", "--yes", "--catalog", str(worker.catalog),
            env={"NEO_KAFKA_BOOTSTRAP": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "1 CODEBOOK_FULL to events.jsonl" in done.stdout
        worker.wait(lambda: worker.reader.item(ItemKey("film", "e")), "the item that was put back")
        assert worker.counters()["dead_letters"] == 1
