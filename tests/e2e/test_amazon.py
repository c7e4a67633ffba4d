"""The whole path on a real catalog: Kafka → SIDs → training → gRPC, and real users' lists beat popularity."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.fit import fit_catalog
from neo_runtime.client import NeoClient, rank_request
from neo_runtime.ingest.bulk import read_upserts
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.prompt.tasks import WORDINGS
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.training.examples import ExampleWriter, Sample, task_sample
from neo_runtime.training.loop import Recipe, train
from neo_runtime.types import ItemKey
from tests.kit import amazon
from tests.kit.processes import neo, serving, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.data, amazon.needs_amazon, pytest.mark.timeout(1_200)]

LEVEL_SIZES = (256, 256)
LONGEST = 24
STEPS = 800
SHAPE = DecoderShape(width=64, layers=2, heads=4, key_value_heads=2, feed_forward=160, context_tokens=256)
TESTED_USERS = 500  # of each type


def test_real_users_ranked_lists_beat_popularity(tmp_path: Path, bootstrap: str) -> None:
    files = write_items(tmp_path)
    fit_catalog(read_upserts(files), LEVEL_SIZES, "lexical", tmp_path / "source")
    load_through_kafka(tmp_path, files, bootstrap)
    people = {item_type: amazon.users(item_type) for item_type in amazon.TYPES}
    train_model(tmp_path, people)
    results = {}
    with serving(tmp_path / "catalog", tmp_path / "model", tmp_path) as address, NeoClient(address) as client:
        for item_type, users in people.items():
            tested = [users[i] for i in np.random.default_rng(0).choice(len(users), TESTED_USERS, replace=False)]
            hits = [hit(client, user) for user in tested]
            results[item_type] = (float(np.mean(hits)), amazon.popularity_hits(users, tested))
    print({name: f"HR@10 {ours:.4f}, popularity {popular:.4f}" for name, (ours, popular) in results.items()})
    assert all(ours > popular for ours, popular in results.values()), results
    assert sum(ours for ours, _ in results.values()) > 1.5 * sum(popular for _, popular in results.values()), results


def write_items(folder: Path) -> list[Path]:
    """The catalog in the runtime's file format, for the life of this test."""
    files = []
    for item_type in amazon.TYPES:
        path = folder / f"{item_type}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in amazon.item_lines(item_type)))
        files.append(path)
    return files


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
        wanted = sum(len(path.read_text().splitlines()) for path in files)
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


def train_model(folder: Path, people: Mapping[str, Sequence[amazon.User]]) -> None:
    """A model of 0.3 million parameters on the training part of every history: about four minutes on two cores."""
    codebooks = load_codebooks(folder / "source" / "codebooks")
    tokenizer = fresh_tokenizer([*chain(*WORDINGS.values()), *amazon.TYPES], 512)
    lm = fresh_decoder(SHAPE, len(tokenizer), end_token=tokenizer.eos_token_id)
    model = NeoModel.extend("amazon-test", lm, tokenizer, codebooks)
    reader, _ = open_reader(folder / "catalog")
    with closing(reader.store):
        keys = [ItemKey(name, item) for name, users in people.items() for user in users for item in user.items]
        writer = ExampleWriter(model, reader.pin(set(keys)).sids, learn_history=True)
    train(model.lm, map(writer.write, samples(people)), Recipe(STEPS, batch_tokens=8_192, peak_rate=5e-3))
    model.save(folder / "model")


def samples(people: Mapping[str, Sequence[amazon.User]]) -> Iterator[Sample]:
    """Every user's training part, again and again in random order: the last item is the answer."""
    random = np.random.default_rng(0)
    everybody = [user for users in people.values() for user in users if len(user.train) > 1]
    while True:
        for index in random.permutation(len(everybody)):
            user = everybody[index]
            *history, target = (ItemKey(user.item_type, item) for item in user.train[-LONGEST:])
            yield task_sample(random, TaskPrompt(Task.RECOMMEND, user.item_type), history, (target,))


def hit(client: NeoClient, user: amazon.User) -> bool:
    """Whether the user's last item is among the ten that the worker ranks for the others."""
    history = [ItemKey(user.item_type, item) for item in user.context[-LONGEST:]]
    deny = [ItemKey(user.item_type, item) for item in user.context]
    answer = client.rank(rank_request(user.item_type, history=history, deny=deny, limit=30))
    return any(item.key.id == user.target for row in answer.results[:10] for item in row.items)
