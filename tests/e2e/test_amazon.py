"""The whole path on a real catalog: Kafka → SIDs → training → gRPC, and real users' lists beat popularity."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.fit import fit_catalog
from neo_runtime.client import NeoClient, rank_request
from neo_runtime.data.amazon import convert_amazon
from neo_runtime.data.dataset import data_files, read_dataset
from neo_runtime.ingest.bulk import count_lines, read_upserts
from neo_runtime.training.recipe import checked_recipe
from neo_runtime.training.stages import Training
from neo_runtime.types import ItemKey
from tests.kit import amazon
from tests.kit.processes import neo, serving, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.data, amazon.needs_amazon, pytest.mark.timeout(1_200)]

LEVEL_SIZES = (256, 256)
LONGEST = 24
STEPS = 800
SHAPE = {"width": 64, "layers": 2, "feed_forward": 160, "context_tokens": 256, "text_tokens": 512}
TESTED_USERS = 500  # of each type


def test_real_users_ranked_lists_beat_popularity(tmp_path: Path, bootstrap: str) -> None:
    convert_amazon(amazon.FOLDER, tmp_path / "data")
    files = data_files(tmp_path / "data", "items")
    fit_catalog(read_upserts(files), LEVEL_SIZES, "lexical", tmp_path / "source")
    load_through_kafka(tmp_path, files, bootstrap)
    people = {item_type: amazon.users(item_type) for item_type in amazon.TYPES}
    train_model(tmp_path)
    results = {}
    with serving(tmp_path / "catalog", tmp_path / "model", tmp_path) as address, NeoClient(address) as client:
        for item_type, users in people.items():
            tested = [users[i] for i in np.random.default_rng(0).choice(len(users), TESTED_USERS, replace=False)]
            hits = [hit(client, user) for user in tested]
            results[item_type] = (float(np.mean(hits)), amazon.popularity_hits(users, tested))
    print({name: f"HR@10 {ours:.4f}, popularity {popular:.4f}" for name, (ours, popular) in results.items()})
    assert all(ours > popular for ours, popular in results.values()), results
    assert sum(ours for ours, _ in results.values()) > 1.5 * sum(popular for _, popular in results.values()), results


def load_through_kafka(folder: Path, files: list[Path], bootstrap: str) -> None:
    """All items through a real topic and a real catalog worker."""
    env = {
        "NEO_CATALOG": str(folder / "catalog"), "NEO_MODEL": str(folder / "source"), "NEO_KAFKA_BOOTSTRAP": bootstrap,
        "NEO_ITEMS_TOPIC": "amazon.items", "NEO_ASSIGNMENTS_TOPIC": "amazon.assignments",
    }  # fmt: skip
    log = folder / "catalog.log"
    worker = start("catalog", "run", log=log, env=env)
    try:
        wait_until(lambda: '"ready"' in log.read_text(), log)
        done = neo("items", "publish", *map(str, files), env=env)
        assert done.returncode == 0, done.stderr
        wanted = sum(count_lines(str(path)) for path in files)
        wait_until(lambda: live_items(folder) == wanted, log)
    finally:
        assert stop(worker) == 0, log.read_text()


def live_items(folder: Path) -> int:
    reader, _ = open_reader(folder / "catalog")
    with closing(reader.store):
        state = reader.state()
    assert state.dead_letters == 0
    return sum(stats.items for stats in state.stats.values())


def wait_until(holds: object, log: Path) -> None:
    deadline = time.monotonic() + 180
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, log.read_text()[-2_000:]
        time.sleep(0.2)


def train_model(folder: Path) -> None:
    """A model of 0.3 million parameters on the training part of every history: about four minutes on two cores."""
    recipe = checked_recipe({
        "name": "amazon-test", "data": folder / "data", "out": folder / "trained", "catalog": folder / "catalog",
        "base": SHAPE,
        "samples": {
            "history_items": LONGEST - 1, "context_items": 0, "search": 0, "describe": 0, "kind": 0, "labelled": 0,
        },
        "instruct": {"steps": STEPS, "batch_tokens": 8_192, "rate": 5e-3, "dropout": 0.0},
    }, "test")  # fmt: skip
    training = Training(recipe, read_dataset(recipe.data), Console(quiet=True))
    training.instruct(training.start(folder / "source"), folder / "model")


def hit(client: NeoClient, user: amazon.User) -> bool:
    """Whether the user's last item is among the ten that the worker ranks for the others."""
    history = [ItemKey(user.item_type, item) for item in user.context[-LONGEST:]]
    deny = [ItemKey(user.item_type, item) for item in user.context]
    answer = client.rank(rank_request(user.item_type, history=history, deny=deny, limit=30))
    return any(item.key.id == user.target for row in answer.results[:10] for item in row.items)
