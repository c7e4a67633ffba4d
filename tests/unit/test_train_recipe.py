"""The recipe's file: defaults by kind of model, and errors that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from neo_runtime.cli.main import app
from neo_runtime.errors import StartupError
from neo_runtime.training import recipe
from neo_runtime.training.recipe import checked_recipe, read_recipe

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("train*.toml"))


def checked(**values: Any) -> recipe.TrainRecipe:
    return checked_recipe({"data": "d", "out": "o"} | values, "file.toml")


def test_a_pretrained_decoder_gets_the_papers_settings() -> None:
    found = checked(base={"name": "Qwen/Qwen3-0.6B"})
    align, instruct = found.stage("align"), found.stage("instruct")
    assert (align.trained, align.rate, align.warmup_steps) == ("rows", 1e-3, 300)
    assert (instruct.trained, instruct.rate, instruct.warmup_steps) == ("all", 1e-4, 400)
    for stage in (align, instruct):
        assert (stage.betas, stage.weight_decay, stage.clip_norm) == ((0.9, 0.95), 0.01, 1.0)
        assert stage.learn_history is False


def test_a_fresh_decoder_learns_from_histories_and_needs_no_alignment() -> None:
    found = checked()
    assert found.stage("align").epochs == 0
    assert found.stage("instruct").learn_history is True
    assert found.stage("instruct").trained == "all"


def test_what_is_said_goes_before_defaults() -> None:
    stage = checked(instruct={"rate": 5e-5, "learn_history": False, "dropout": 0.0}).stage("instruct")
    assert (stage.rate, stage.learn_history, stage.dropout) == (5e-5, False, 0.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"instruct": {"rate": -1}}, "file.toml: instruct.rate: "),
        ({"instruct": {"lr": 1}}, "file.toml: instruct.lr: there is no such field"),
        ({"sids": {"levels": [256, 1]}}, "file.toml: sids.levels: "),
        ({"sids": {"levels_of": {"film": [2**20]}}}, "file.toml: sids.levels_of"),
        ({"samples": {"order": "random"}}, "file.toml: samples.order: "),
        ({"teacher": {"by": "me"}}, "file.toml: teacher.by: "),
        ({"data": None}, "file.toml: data: "),
    ],
)
def test_errors_name_the_field(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StartupError, match=said.replace(".", r"\.")):
        checked(**values)


def test_every_field_is_explained() -> None:
    for section in (
        recipe.TrainRecipe, recipe.SidsRecipe, recipe.BaseRecipe, recipe.SamplesRecipe, recipe.TeacherRecipe,
        recipe.StageRecipe,
    ):  # fmt: skip
        silent = [name for name, field in section.model_fields.items() if not field.description]
        sections = (
            {"sids", "base", "samples", "teacher", "align", "instruct"} if section is recipe.TrainRecipe else set()
        )
        assert set(silent) == sections


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_recipes(file: Path) -> None:
    found = read_recipe(file)
    assert found.data.resolve().parent == file.parents[1] / ".neo"
    assert found.stage("instruct").rate


def test_what_is_no_toml_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name =")
    with pytest.raises(StartupError, match="is no TOML file"):
        read_recipe(tmp_path / "bad.toml")
    given = [str(tmp_path), "--sids", str(tmp_path), "--out", "model", "--recipe", str(tmp_path / "bad.toml")]
    refused = CliRunner().invoke(app, ["train", "align", *given])
    assert isinstance(refused.exception, StartupError)
    assert "is no TOML file" in str(refused.exception)
