"""A worker in int8: it answers where the gate lets it, and says the figures where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neo_runtime.client import NeoClient, rank_request
from tests.kit import tiny
from tests.kit.processes import neo, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("int8")
    tiny.catalog(made / "catalog", 20).close()
    tiny.model().save(made / "model")
    return made


def recorded(path: Path) -> Path:
    lines = [{"type": name, "history": ["film/f1"], "next": f"{name}/{name[0]}2"} for name in tiny.TYPES]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_it_answers_behind_the_gate(folder: Path, tmp_path: Path) -> None:
    # A random model ranks near-ties: all 20 items are among the first 30, and their order is not what this is about.
    gate = recorded(tmp_path / "recorded.jsonl")
    settings = {"dtype": "int8", "gate": str(gate), "gate_min_overlap": "0.5", "gate_max_hit_loss": "1"}
    with (
        serving(folder / "catalog", folder / "model", tmp_path, **settings) as address,
        NeoClient(address) as client,
    ):
        assert len(client.rank(rank_request("film", limit=20)).results) == 20
    log = (tmp_path / "serve.log").read_text()
    assert "the int8 gate is passed" in log
    assert "type of the weights chosen" in log


@pytest.mark.parametrize("given", [True, False])
def test_it_refuses_to_start_with_one_line(folder: Path, tmp_path: Path, given: bool) -> None:
    # Nothing ranks films that are gone: every prompt names a type that this catalog does not have.
    path = tmp_path / "recorded.jsonl"
    path.write_text('{"type":"song"}\n')
    arguments = ["--catalog", str(folder / "catalog"), "--model", str(folder / "model"), "--dtype", "int8"]
    done = neo("serve", *arguments, *(["--gate", str(path)] if given else []))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert ("recorded prompt 1 cannot be ranked" if given else "evaluation.jsonl cannot be read") in line
