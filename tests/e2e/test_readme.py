"""The README's commands are run as they stand there, and the demo that it promises ends by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.processes import ROOT, free_port, neo, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>sh|python)\n(?P<code>.*?)```", re.DOTALL)
README = [match.groupdict() for match in BLOCK.finditer((ROOT / "README.md").read_text())]
# What no test here runs, by a line of its own: set-up, a command that another test runs, a folder of the reader's.
ELSEWHERE = ("make demo", ".venv/bin/neo demo --keep", "neo demo --data FOLDER", 'from_pretrained("FOLDER")')


@dataclass(frozen=True)
class Kept:
    """`neo demo --keep`, and the folder that it runs in."""

    folder: Path
    address: str
    env: dict[str, str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder: Path = tmp_path_factory.mktemp("kept")
    address = f"127.0.0.1:{free_port()}"
    env = {
        "NEO_LISTEN": address, "NEO_ADDRESS": address, "COLUMNS": "100",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    log = folder / "demo.log"
    process = start("demo", "--keep", log=log, env=env, cwd=folder)
    try:
        deadline = time.monotonic() + 240
        while "Ctrl-C ends them" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Kept(folder, address, env)
    finally:
        assert stop(process) == 0, log.read_text()


def blocks(note: str) -> str:
    found = [block["code"] for block in README if block["note"] == note]
    assert found, f"the README has no block marked {note!r}"
    return "\n".join(found)


def run(command: list[str], kept: Kept) -> str:
    done = subprocess.run(
        command,
        cwd=kept.folder,
        env={**os.environ, **kept.env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_command_block_is_run_or_excused() -> None:
    unmarked = [block["code"] for block in README if not block["note"]]
    assert [code for code in unmarked if not any(line in code for line in ELSEWHERE)] == []


def test_the_second_terminal(kept: Kept) -> None:
    told = run(["bash", "-euo", "pipefail", "-c", blocks("run: second terminal")], kept)
    assert '"results"' in told
    assert "film/mine" in told
    assert "robot" in told.lower()


def test_the_python_client(kept: Kept) -> None:
    code = blocks("run: python").replace("127.0.0.1:50051", kept.address)
    assert "[" in run([sys.executable, "-c", code], kept)


def test_the_examples(kept: Kept) -> None:
    run([sys.executable, str(ROOT / "examples" / "rank_and_stream.py"), kept.address], kept)
    assert "999 songs" in run([sys.executable, str(ROOT / "examples" / "own_catalog.py")], kept)


def test_an_own_catalog(kept: Kept) -> None:
    folder = kept.folder / "own"
    folder.mkdir()
    words = ["red", "green", "blue", "small", "large", "wooden", "steel", "round", "square", "soft"]
    lines = [
        {
            "type": "toy",
            "id": f"t{n}",
            "title": f"{words[n % 10]} {words[n // 7 % 10]} toy",
            "description": words[n % 3],
        }
        for n in range(60)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = run(["bash", "-euo", "pipefail", "-c", f"cd own\n{blocks('run: own catalog')}"], kept)
    assert "60 upserted" in told


def test_the_demo_ends_by_itself_and_shows_every_step(tmp_path: Path) -> None:
    done = neo("demo", cwd=tmp_path, env={"COLUMNS": "100"}, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [f"{number}  " for number in range(1, 7)]
    assert all(f"\n{step}" in done.stdout for step in steps)
    assert re.search(r"published: at place \d+ of \d+ after \d+ ms", done.stdout)
    assert re.search(r"deleted: gone from the answer after \d+ ms", done.stdout)


@pytest.mark.kafka
def test_the_demo_works_through_a_real_kafka(tmp_path: Path) -> None:
    done = neo("demo", "--kafka", cwd=tmp_path, env={"COLUMNS": "100"}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Kafka topic neo.catalog.items" in done.stdout
    assert re.search(r"deleted: gone from the answer after \d+ ms", done.stdout)


def test_the_demo_takes_another_catalog(tmp_path: Path) -> None:
    colours, things = ("red", "green", "blue", "black"), ("lamp", "chair", "table", "shelf", "clock", "mirror")
    items = [
        {"type": "furniture", "id": f"{c}-{t}-{n}", "title": f"{c} {t} {n}", "description": f"A {t} painted {c}."}
        for c in colours for t in things for n in range(3)
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    done = neo("demo", "--data", str(tmp_path / "data"), cwd=tmp_path, env={"COLUMNS": "100"}, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "72 of type furniture" in done.stdout
    assert re.search(r"deleted: gone from the answer after \d+ ms", done.stdout)
