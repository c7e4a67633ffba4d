"""The paper's ablations on a small shop: a row for each change, asked of the same users, by one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.ablation_rows import ALIGNED_SHARE, as_toml, changed, rows_of
from benchmarks.ablation_table import verdict
from benchmarks.ablations import REPORT, Ablations, KeptVectors, of_types
from neo_runtime.data.dataset import read_dataset
from neo_runtime.embed.base import Vectors
from neo_runtime.evaluation.bootstrap import Interval
from neo_runtime.training.recipe import TrainRecipe, checked_recipe, read_recipe
from tests.kit.shop import write_shop

BASE = {
    "name": "shop", "data": "d", "out": "o",
    "sids": {"levels": [8, 8], "levels_of": {"book": [16, 8]}, "collaborative": 1.0, "collaborative_dimension": 8},
    "base": {"width": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "feed_forward": 64, "text_tokens": 400},
    "samples": {"search": 3.0, "describe": 0.2, "labelled": 20},
    "instruct": {"steps": 7, "rate": 4e-3, "betas": [0.9, 0.98], "batch_tokens": 1024},
}  # fmt: skip


def base_file(folder: Path) -> Path:
    file = folder / "base.toml"
    file.write_text(as_toml(BASE, "a base"))
    return file


def recipe_of(name: str, folder: Path) -> TrainRecipe:
    (row,) = (row for row in rows_of(checked_recipe(dict(BASE), "base"), 10) if row.name == name)
    file = folder / "row.toml"
    file.write_text(as_toml(changed(dict(BASE), row, 10, str(folder / "data"), str(folder / "out")), row.what))
    return read_recipe(file)


def test_a_written_recipe_is_the_one_that_was_meant(tmp_path: Path) -> None:
    meant = checked_recipe(dict(BASE) | {"data": tmp_path / "d", "out": tmp_path / "o"}, "base")
    assert read_recipe(base_file(tmp_path)) == meant


@pytest.mark.parametrize(
    ("name", "section", "differing"),
    [
        ("recipe", "", set()),
        ("shuffled", "sids", {"method"}),
        ("lsh", "sids", {"method"}),
        ("shared", "sids", {"method", "levels_of"}),
        ("text-only", "sids", {"collaborative"}),
        ("aligned", "align", {"epochs", "rate", "betas", "batch_tokens"}),
        ("merged", "samples", {"search", "describe", "kind"}),
        ("single-task", "samples", {"search", "describe", "kind", "explain", "profile", "context_items"}),
    ],
)
def test_a_row_changes_what_it_is_named_after_and_nothing_else(
    name: str, section: str, differing: set[str], tmp_path: Path
) -> None:
    plain, row = recipe_of("recipe", tmp_path), recipe_of(name, tmp_path)
    assert plain.instruct.epochs == 10
    assert plain.instruct.steps is None
    for other in type(plain).model_fields:
        ours, theirs = getattr(row, other), getattr(plain, other)
        if other == section:
            fields = type(ours).model_fields
            assert {field for field in fields if getattr(ours, field) != getattr(theirs, field)} == differing
        else:
            assert ours == theirs


def test_alignment_before_and_inside_the_mixture_have_as_many_samples(tmp_path: Path) -> None:
    assert recipe_of("aligned", tmp_path).stage("align").epochs == ALIGNED_SHARE * 10
    plain, merged = recipe_of("recipe", tmp_path).samples, recipe_of("merged", tmp_path).samples
    assert merged.describe - plain.describe == pytest.approx(ALIGNED_SHARE)
    assert merged.search - plain.search == pytest.approx(ALIGNED_SHARE)


@pytest.mark.parametrize(
    ("low", "high", "sign", "expected"),
    [
        (-0.2, -0.1, -1, "agrees"), (-0.2, -0.1, 1, "differs"), (0.1, 0.2, -1, "differs"), (0.1, 0.2, 1, "agrees"),
        (-0.1, 0.2, -1, "not shown"), (0.0, 0.0, -1, "not shown"), (0.1, 0.2, 0, "–"),
    ],
)  # fmt: skip
def test_a_direction_is_shown_where_the_interval_leaves_out_zero(
    low: float, high: float, sign: int, expected: str
) -> None:
    assert verdict(Interval((low + high) / 2, low, high), sign) == expected


def test_a_folder_of_some_types_has_their_lines_alone(tmp_path: Path) -> None:
    whole = read_dataset(write_shop(tmp_path / "shop"))
    (tmp_path / "shop" / "queries.jsonl").write_text('{"query": "war", "item": "film/f1"}\n')
    films = read_dataset(of_types(tmp_path / "shop", ["film"], tmp_path / "films"))
    assert list(films.items) == ["film"]
    assert [item.key for item in films.items["film"]] == [item.key for item in whole.items["film"]]
    assert len(films.sequences["film"].items.values) == len(whole.sequences["film"].items.values)
    assert len(films.queries) == 1


def test_the_same_texts_are_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()

    class Counting:
        name, dimension = "counting", 4

        def embed(self, texts: list[str]) -> Vectors:
            asked.append(len(texts))
            return np.ones((len(texts), 4), np.float32)

    monkeypatch.setattr("benchmarks.ablations.load_embedder", lambda _: Counting())
    for texts in (["a", "b"], ["a", "b"], ["a", "c", "d"]):
        assert KeptVectors("counting", tmp_path).embed(texts).shape == (len(texts), 4)
    assert asked == [2, 3]


def test_one_command_trains_each_row_once_and_writes_one_table_a_type(tmp_path: Path) -> None:
    data = write_shop(tmp_path / "data", users=60)

    def run(only: list[str]) -> str:
        Ablations(data, tmp_path / "out", base_file(tmp_path), 0.5, Console(quiet=True)).run(only)
        return (tmp_path / "out" / REPORT).read_text()

    first = run(["lsh"])
    assert "(c) random hyperplanes" in first
    weights = tmp_path / "out" / "models" / "lsh" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    report = run(["lsh", "shared", "free-beams", "samples"])
    assert weights.stat().st_mtime_ns == made
    for item_type in ("film", "book"):
        table = report.split(f"## {item_type}, ")[1].split("##")[0]
        rows = [line for line in table.splitlines() if line.startswith("| (")]
        assert [row[2:5] for row in rows] == ["(a)", "(c)", "(d)", "(i)", "(j)"]
        assert "all, by the trie" in rows[0]
        assert "%" in rows[3].split("|")[11]
        assert rows[4].split("|")[11].strip() == "100.00%, 100.00% new"
    assert len(list((tmp_path / "out" / "sids").iterdir())) == 3
    spent = json.loads((tmp_path / "out" / "cpu_seconds.json").read_text())
    assert spent["recipe"]["train"] > 0


def test_a_pretrained_decoder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "base.toml"
    file.write_text(as_toml(dict(BASE) | {"base": {"name": "some/decoder"}}, "pre-trained"))
    with pytest.raises(SystemExit, match="pre-trained"):
        Ablations(tmp_path, tmp_path, file, None, Console(quiet=True))
