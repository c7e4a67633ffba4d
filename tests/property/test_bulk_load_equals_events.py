"""A bulk load leaves what the same lines leave when they are applied one after the other."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from neo_runtime.catalog import bulk_runs
from neo_runtime.catalog.bulk_lines import Phases
from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.catalog.item import ItemRecord
from neo_runtime.catalog.records import State
from neo_runtime.embed.base import unit_rows
from neo_runtime.ingest import bulk_aside, bulk_chunks, bulk_parse
from neo_runtime.ingest.bulk import load_files, load_in_batches
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.trie import TypeView
from neo_runtime.trie.predicate_json import from_json
from neo_runtime.types import ItemKey
from tests.kit import dump, tiny

NOW_NS = 1_767_225_600_000_000_000
NAMED = from_json({"must": [{"attribute": "year", "range": {"greaterOrEqual": 1950}}]})
TYPES = {"film": (4, 4, 4), "book": (6, 6), "artist": (3, 3, 3)}
BAD = [
    b"{", b"[]", b"null", b"3", b'{"id": "x"}', b'{"type": "film", "id": ""}', b'{"type": "film", "id": "a\\u0000b"}',
    b'{"type": "film", "id": "x", "title": " "}', b'{"type": "song", "id": "x", "title": "T"}',
    b'{"type": "song", "id": "x", "deleted": true}', b'{"type": "film", "id": "x", "title": "T", "more": 1}',
    b'{"type": "film", "id": "x", "title": "T", "embedding": "AAAA!"}',
    b'{"type": "film", "id": "x", "title": "T", "embedding": "AAA="}',
    b'{"type": "film", "id": "x", "title": "T", "embedding": [1, 2]}',
    b'{"type": "film", "id": "x", "title": "T", "embedding": [1e39, 0, 0, 0, 0, 0, 0, 0]}',
    b'{"type": "film", "id": "x", "title": "T", "event_time": "1969-01-01T00:00:00Z"}',
    b'{"type": "film", "id": "x", "title": "T", "windows": []}', b'{"type": "song", "id": "x", "windows": []}',
    b'{"type": "film", "id": "x", "windows": [{"regions": [""]}]}',
    b'{"type": "film", "id": "x", "title": "\xff"}', b'{"type": "film", "id": "x", "title": "open',
    b'{"type": "film", "id": "x", "title": "T"},null,{"type": "film", "id": "y", "title": "T"}',
    b'{"type": "film", "id": "x"', b'"title": "T"}', b'{"type": "film", "id": "x", "title": "T", "embedding": [1',
    json.dumps({"type": "film", "id": "x" * 257, "title": "T"}).encode(),
    json.dumps({"type": "film", "id": "é" * 129, "title": "T"}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T" * 1_001}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "description": "T" * 20_001}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "attributes": {"": 1}}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "attributes": {"a": 2**63}}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "attributes": {"a": "x" * 4_097}}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "attributes": {"a": ["x"] * 257}}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "attributes": {f"a{n}": n for n in range(65)}}).encode(),
    json.dumps({"type": "film", "id": "x", "title": "T", "embedding_model": "other", "embedding": [0.0] * 8}).encode(),
]  # fmt: skip


class Hashed:
    """Unit vectors from texts."""

    name, dimension = tiny.EMBEDDER, tiny.DIMENSION

    def embed(self, texts: list[str]) -> np.ndarray:
        return unit_rows(np.stack([tiny.vector(ItemKey("text", text)) for text in texts]))


def random_attributes(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"year": 1940 + rng.randrange(20)} if rng.random() < 0.9 else {"year": "unknown"}
    if rng.random() < 0.6:
        found["genres"] = rng.sample(["drama", "war", "été", ""], rng.randrange(4))
    if rng.random() < 0.4:
        found["adult"], found["a rating"] = rng.random() < 0.5, round(rng.random(), 3)
    if rng.random() < 0.1:
        found["long"] = rng.choice(["x" * 600, ["ä" * 600, "y"], 2**63 - 1])
    names = list(found)
    rng.shuffle(names)
    return {name: found[name] for name in names}


def random_line(rng: random.Random, key: ItemKey, *, keeps_time: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"type": key.type, "id": key.id}
    if keeps_time or rng.random() < 0.7:
        line["event_time"] = f"2025-01-01T00:00:{rng.randrange(60):02}.{rng.randrange(3)}Z"
    kind = rng.random()
    if kind < 0.1:
        return line | {"deleted": True}
    if kind < 0.25:
        windows = [
            {"start": "2025-01-01T00:00:00Z", "end": f"2026-0{rng.randrange(1, 9)}-01T00:00:00Z"},
            {"regions": rng.sample(["DE", "FR", "US"], 2)},
        ]
        return line | {"windows": rng.choice([None, [], windows[:1], windows])}
    vector = tiny.vector(key, rng.randrange(2))
    line |= {
        "title": f"Title {rng.randrange(3)} 😀",
        "popularity": rng.randrange(3),
        "attributes": random_attributes(rng),
    }
    if rng.random() < 0.3:
        line["description"] = "Some text. " * rng.randrange(3)
    match rng.randrange(4):
        case 0:
            line["embedding"] = [round(float(x), 5) for x in vector]
        case 1 | 2:
            line["embedding"] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            line |= {"embedding_model": tiny.EMBEDDER} if rng.random() < 0.5 else {}
    return line


def random_lines(seed: int, count: int, *, once: bool) -> list[bytes]:
    """`once`: every item has one line at most."""
    rng = random.Random(seed)
    keys = [ItemKey(kind, f"{kind}-{'ü' * (n % 2)}{n}") for kind in TYPES for n in range(count if once else count // 4)]
    chosen = rng.sample(keys, count) if once else rng.choices(keys, k=count)
    lines = [json.dumps(random_line(rng, key, keeps_time=False), ensure_ascii=rng.random() < 0.5) for key in chosen]
    found = [line.encode() for line in lines]
    for bad in BAD:
        found.insert(rng.randrange(len(found)), bad)
    for blank in (b"", b" \t"):
        found.insert(rng.randrange(len(found)), blank)
    return found


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks, blocks and parts so small that there are many; a clock that stands, so that outcomes can be compared."""
    monkeypatch.setattr(bulk_chunks, "CHUNK_LINES", 37)
    monkeypatch.setattr(bulk_parse, "_BLOCK", 8)
    monkeypatch.setattr(bulk_chunks, "_READ_BYTES", 2_000)
    monkeypatch.setattr(bulk_runs, "_BLOCK", 4)
    monkeypatch.setattr(bulk_runs, "_PART", 24)
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)


def write(folder: Path, lines: list[bytes]) -> list[str]:
    """Two files, one of them compressed, with the two ways to end a line."""
    third = len(lines) // 3
    (folder / "1.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines[:third]))
    (folder / "2.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[third:]) + b"\n"))
    return [str(folder / "1.jsonl"), str(folder / "2.jsonl.gz")]


def made(path: Path, policy: CollisionPolicy, *, embedder: Any = None) -> Catalog:
    return Catalog.create(path, tiny.codebooks(TYPES), policy=policy, embedder=embedder, named=[NAMED])


def both(folder: Path, lines: list[bytes], policy: CollisionPolicy, **given: Any) -> Iterator[tuple[Catalog, Any]]:
    files = write(folder, lines)
    embedder = given.pop("embedder", Hashed())
    at_once, in_batches = (
        made(folder / "once", policy, embedder=embedder),
        made(folder / "one", policy, embedder=embedder),
    )
    yield at_once, load_files(at_once, files, **given)
    yield in_batches, load_in_batches(in_batches, files, Phases(), **{"embeddings": None, **given})


def said(catalog: Catalog) -> State:
    """Apart from what counts batches."""
    state = catalog.reader.state()
    state.generation = bool(state.generation)
    return state


def leaves(view: TypeView) -> list[tuple[int, list[Any]]]:
    base = view.compacted()
    bounds = range(len(base) + 1) if base.leaf_rows is None else base.leaf_rows.tolist()
    return [
        (int(key), [base.row(row) for row in range(bounds[leaf], bounds[leaf + 1])])
        for leaf, key in enumerate(base.keys.tolist())
    ]


def assert_same(first: Catalog, second: Catalog) -> None:
    ours, theirs = dump.tables(first.store), dump.tables(second.store)
    for table in ("items", "sid_items", "availability", "waiting", "offsets", "outbox", "dead_letters"):
        assert ours[table] == theirs[table], table
    assert said(first) == said(second)
    assert not ours["log"]
    for name, view in second.reader.view().types.items():
        assert leaves(first.reader.view().types[name]) == leaves(view)
        mine, others = first.reader.view().types[name].base, view.compacted([NAMED])
        assert mine.filters.prepared[NAMED].tolist() == others.filters.prepared[NAMED].tolist()


@pytest.mark.parametrize("policy", CollisionPolicy)
@pytest.mark.parametrize("seed", range(3))
def test_items_with_one_line_each_are_the_same_byte_for_byte(
    tmp_path: Path, policy: CollisionPolicy, seed: int
) -> None:
    (first, totals), (second, expected) = both(tmp_path, random_lines(seed, 150, once=True), policy)
    with closing(first), closing(second):
        assert_same(first, second)
        assert {**totals, "generation": 0} == {**expected, "generation": 0}
        assert totals["generation"] == 1


@pytest.mark.parametrize("has_embedder", [True, False])
def test_lines_that_other_processes_parse_are_the_same_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_embedder: bool
) -> None:
    """Dead letters among them, which name file and line."""
    monkeypatch.setattr(bulk_aside, "WORTH_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    embedder = Hashed() if has_embedder else None
    (first, totals), (second, expected) = both(
        tmp_path, random_lines(5, 150, once=True), CollisionPolicy.NEAREST_FREE, embedder=embedder
    )
    with closing(first), closing(second):
        assert_same(first, second)
        assert {**totals, "generation": 0} == {**expected, "generation": 0}
        assert totals["dead_letters"] >= len(BAD) - 2


@pytest.mark.parametrize("policy", [CollisionPolicy.SHARE, CollisionPolicy.CANONICAL])
@pytest.mark.parametrize("seed", range(3))
def test_of_several_lines_of_an_item_the_newest_counts(tmp_path: Path, policy: CollisionPolicy, seed: int) -> None:
    (first, totals), (second, expected) = both(tmp_path, random_lines(seed, 300, once=False), policy)
    with closing(first), closing(second):
        assert_same(first, second)
        assert {**totals, "generation": 0} == {**expected, "generation": 0}


@pytest.mark.parametrize("seed", range(4))
def test_items_that_move_keep_sids_of_their_own(tmp_path: Path, seed: int) -> None:
    lines = random_lines(seed, 120, once=False)
    (first, _), (second, _) = both(tmp_path, lines, CollisionPolicy.NEAREST_FREE)
    with closing(first), closing(second):
        ours, theirs = records(first), records(second)
        assert ours.keys() == theirs.keys()
        live = {key: record for key, record in ours.items() if not record.deleted}
        sids = [(key.type, record.sid_key) for key, record in live.items()]
        assert len(sids) == len(set(sids))
        for key, record in ours.items():
            assert msgspec.structs.replace(record, sid_key=0) == msgspec.structs.replace(theirs[key], sid_key=0)
        assert said(first) == said(second)
        for kind, view in first.reader.view().types.items():
            on_leaves = {key: view.items_on(key) for key, _ in leaves(view)}
            assert on_leaves == {record.sid_key: (key.id,) for key, record in live.items() if key.type == kind}


def records(catalog: Catalog) -> dict[ItemKey, ItemRecord]:
    with catalog.store.read() as txn:
        return {ItemKey(kind, name): record for kind in TYPES for name, record in txn.items(kind)}


def test_a_catalog_without_room_refuses_the_same_items_with_their_lines(tmp_path: Path) -> None:
    keys = [ItemKey("book", f"b{n}") for n in range(60)]
    lines = [json.dumps({"type": "book", "id": k.id, "title": "T", "embedding": tiny.vector(k).tolist()}) for k in keys]
    (first, totals), (second, _) = both(tmp_path, [line.encode() for line in lines], CollisionPolicy.NEAREST_FREE)
    with closing(first), closing(second):
        assert totals["dead_letters"] == 60 - 36
        assert_same(first, second)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("policy", CollisionPolicy)
def test_embeddings_from_a_file_belong_to_lines(tmp_path: Path, policy: CollisionPolicy, seed: int) -> None:
    lines = random_lines(seed, 100, once=True)
    count = sum(1 for line in lines if line.strip())
    np.save(tmp_path / "rows.npy", np.random.default_rng(seed).normal(size=(count, tiny.DIMENSION)).astype(np.float32))
    (first, totals), (second, expected) = both(tmp_path, lines, policy, embeddings=tmp_path / "rows.npy", embedder=None)
    with closing(first), closing(second):
        assert_same(first, second)
        assert totals["upserted"] == expected["upserted"] > 50


def test_the_outcome_is_whole_for_a_process_that_opens_it(tmp_path: Path) -> None:
    ((first, _), _) = both(tmp_path, random_lines(9, 100, once=True), CollisionPolicy.NEAREST_FREE)
    expected = {name: leaves(view) for name, view in first.reader.view().types.items()}
    first.close()
    reader, _ = open_reader(tmp_path / "once")
    assert {name: leaves(view) for name, view in reader.view().types.items()} == expected
    reader.store.close()
    with closing(Catalog.open(tmp_path / "once", embedder=Hashed())) as again:
        again.apply([tiny.upsert("film/new")])
        assert again.reader.state().generation == 2
