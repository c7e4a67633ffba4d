"""Real processes: the command line, two processes that train one model, and their end in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from neo_runtime.model.checkpoint import NeoModel
from tests.kit import processes
from tests.kit.shop import write_shop
from tests.kit.workers import until

RECIPE = """
data = "data"
out = "{out}"
[sids]
levels = [8, 8]
collaborative = 1.0
collaborative_dimension = 8
[base]
width = 32
layers = 1
heads = 2
key_value_heads = 1
feed_forward = 64
text_tokens = 400
[samples]
labelled = 20
[instruct]
steps = {steps}
checkpoint_steps = {checkpoint_steps}
batch_tokens = {tokens}
accumulation = {accumulation}
dropout = 0.0
log_steps = 1
"""
QUIET = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "data")
    return folder


def write_recipe(
    folder: Path, out: str, *, accumulation: int = 1, tokens: int = 256, steps: int = 6, checkpoint_steps: int = 500
) -> Path:
    file = folder / f"{out}.toml"
    file.write_text(
        RECIPE.format(out=out, accumulation=accumulation, tokens=tokens, steps=steps, checkpoint_steps=checkpoint_steps)
    )
    return file


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def started(recipe: Path) -> list[subprocess.Popen[str]]:
    """Two processes with what torchrun tells each of its own."""
    port = str(processes.free_port())
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "neo_runtime.cli.main", "train", "all", str(recipe)]
    return [
        subprocess.Popen(
            command, cwd=processes.ROOT, env=os.environ | QUIET | told | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip


def finished(running: list[subprocess.Popen[str]]) -> str:
    """What the first one said."""
    said = [one.communicate(timeout=240)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    return said[0]


def test_two_processes_learn_what_one_learns_with_two_batches_a_step(shop: Path) -> None:
    one = processes.neo("train", "all", str(write_recipe(shop, "one", accumulation=2)), env=QUIET)
    assert one.returncode == 0, one.stderr
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(processes.free_port()), "-m",
        "neo_runtime.cli.main", "train", "all", str(write_recipe(shop, "two")),
    ]  # fmt: skip
    two = subprocess.run(
        command, cwd=processes.ROOT, env=os.environ | QUIET, capture_output=True, text=True, timeout=240, check=False
    )
    assert two.returncode == 0, two.stdout + two.stderr
    assert "broadcast_buffers" not in two.stdout + two.stderr
    alone, together = (metrics(shop / name) for name in ("one", "two"))
    for first, second in zip(alone, together, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-3)
        assert first["gradient_norm"] == pytest.approx(second["gradient_norm"], rel=1e-2)
    weights = [load_file(shop / name / "model.safetensors") for name in ("one", "two")]
    assert all(np.allclose(weights[0][name], weights[1][name], atol=5e-3) for name in weights[0])
    assert two.stdout.count("weights are trained") == 1


def test_two_processes_that_are_killed_go_on_bit_for_bit(shop: Path) -> None:
    """In the middle, not at a checkpoint."""
    for name in ("whole", "killed"):
        write_recipe(shop, name, steps=40, checkpoint_steps=5)
    finished(started(shop / "whole.toml"))
    running, told = started(shop / "killed.toml"), shop / "killed" / "metrics.jsonl"
    until(lambda: told.exists() and told.read_text().count("\n") > 12, "steps", lambda: str(running[0].poll()), 120)
    for one in running:
        one.kill()
    for one in running:
        one.communicate()
    assert not (shop / "killed" / "model.safetensors").exists(), "it was killed before its end"
    assert "going on after step" in finished(started(shop / "killed.toml"))
    weights = [load_file(shop / name / "model.safetensors") for name in ("whole", "killed")]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    whole, killed = ([(line["step"], line["loss"]) for line in metrics(shop / name)] for name in ("whole", "killed"))
    assert whole == killed


def test_the_stages_one_by_one(shop: Path, tmp_path: Path) -> None:
    recipe = str(write_recipe(shop, "staged"))
    steps = (
        ("sids", "fit", str(shop / "data"), "--levels", "8,8", "--levels", "book=6,12", "--collaborative", "1",
         "--out", str(tmp_path / "sids")),
        ("train", "align", str(shop / "data"), "--sids", str(tmp_path / "sids"), "--out", str(tmp_path / "aligned"),
         "--recipe", recipe, "--steps", "2"),
        ("train", "instruct", str(shop / "data"), "--from", str(tmp_path / "aligned"), "--out", str(tmp_path / "model"),
         "--recipe", recipe, "--steps", "3", "--rate", "0.001"),
    )  # fmt: skip
    for step in steps:
        done = processes.neo(*step, env=QUIET)
        assert done.returncode == 0, done.stdout + done.stderr
    model = NeoModel.load(tmp_path / "model")
    assert model.codebooks["book"].space.level_sizes == (6, 12)
    assert len(metrics(tmp_path / "model")) == 3
    assert "neo serve" in done.stdout


def test_wrong_recipes_are_one_line(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('data = "nowhere"\nout = "o"\n[instruct]\nrat = 1\n')
    done = processes.neo("train", "all", str(file), env=QUIET)
    assert done.returncode == 1
    assert "instruct.rat: there is no such field" in done.stderr
    assert "Traceback" not in done.stderr
