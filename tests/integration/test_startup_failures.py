"""What cannot start says why in one line, with a non-zero exit code and no traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.kit import tiny
from tests.kit.processes import neo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("failures")
    tiny.catalog(made / "catalog", 5).close()
    tiny.model().save(made / "model")
    return made


def refused(*arguments: str, code: int = 1, **env: str) -> str:
    """The one line that the command says."""
    done = neo(*arguments, env={f"NEO_{name.upper()}": value for name, value in env.items()})
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    last = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(last) == 1, done.stderr
    return last[0]


def test_a_missing_model_folder(folder: Path) -> None:
    line = refused("serve", "--catalog", str(folder / "catalog"), "--model", str(folder / "nowhere"))
    assert "no model folder" in line
    assert "nowhere" in line


def test_a_missing_catalog(folder: Path) -> None:
    line = refused("serve", "--catalog", str(folder / "nothing"), "--model", str(folder / "model"))
    assert "no catalog in" in line
    assert "neo catalog load" in line


def test_a_model_of_other_codebooks_names_the_difference(folder: Path) -> None:
    other = tiny.model(types={"film": (8, 8, 8), "song": (4, 4)})
    other.save(folder / "other")
    line = refused("serve", "--catalog", str(folder / "catalog"), "--model", str(folder / "other"))
    assert "CODEBOOK_MISMATCH" in line
    assert "song: the model has" in line


@pytest.mark.parametrize("command", ["serve", "catalog run"])
def test_a_wrong_filter_names_itself_and_the_place(folder: Path, command: str) -> None:
    filters = {"kids": {"must": [{"attribute": "age", "range": {"below": 7}}]}}
    line = refused(*command.split(), "--catalog", str(folder / "catalog"), filters=json.dumps(filters))
    assert "filters.kids.must[0].range: has an unknown field 'below'" in line


def test_a_taken_port(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused(
            "serve", "--catalog", str(folder / "catalog"), "--model", str(folder / "model"), "--listen", address
        )
    assert address in line


def test_a_half_written_catalog(folder: Path, tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "catalog", 50).close()
    data = tmp_path / "catalog" / "data.mdb"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    for command in (("serve", "--model", str(folder / "model")), ("catalog", "run"), ("catalog", "dead-letters")):
        assert "restore" in refused(*command, "--catalog", str(tmp_path / "catalog"))


def test_a_second_catalog_worker(folder: Path, tmp_path: Path) -> None:
    first = tiny.catalog(tmp_path / "catalog", 1)
    assert "another process is writing" in refused("catalog", "run", "--catalog", str(tmp_path / "catalog"))
    first.close()


def test_no_worker_at_the_address() -> None:
    assert "127.0.0.1:1" in refused("status", "--address", "127.0.0.1:1")


def test_a_wrong_setting_is_named() -> None:
    assert "max_running" in refused("status", max_running="many")


def test_a_bad_line_publishes_nothing(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    lines = [{"type": "film", "id": "a", "title": "A"}, {"type": "film", "id": "b"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    line = refused("items", "publish", str(path), "--catalog", str(folder / "catalog"))
    assert "line 2: title is missing [MISSING_FIELD]" in line
    assert not (folder / "catalog" / "events.jsonl").exists()


def test_a_missing_item_file(folder: Path) -> None:
    assert "nowhere.jsonl" in refused("catalog", "load", "nowhere.jsonl", "--catalog", str(folder / "catalog"))


def test_an_unknown_policy(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"type":"film","id":"a","title":"A"}\n')
    new = str(tmp_path / "new")
    assert "nearest-free" in refused("catalog", "load", str(path), "--catalog", new, "--policy", "luck")


def test_too_few_items_for_the_codes(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"type":"film","id":"a","title":"A"}\n')
    assert "1 items cannot fill 256 codes" in refused("sids", "fit", str(path), "--out", str(tmp_path / "fitted"))
