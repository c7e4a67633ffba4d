"""All stages on a small shop: from a fresh decoder and from a pre-trained one, to a folder that is served."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from typer.testing import CliRunner

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.cli.main import app
from neo_runtime.config import Settings
from neo_runtime.data.dataset import read_dataset
from neo_runtime.embed.mixed import MixedEmbedder
from neo_runtime.errors import MismatchError, ModelError, StartupError
from neo_runtime.evaluation.served import ServedModel
from neo_runtime.ingest.bulk import load_files
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import fresh_tokenizer
from neo_runtime.training.recipe import TrainRecipe, checked_recipe, read_trained
from neo_runtime.training.sids import assigned_sids, fit_sids, items_by_key
from neo_runtime.training.stages import Training
from neo_runtime.types import ItemKey
from tests.kit.shop import write_shop

FRESH = {"width": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "feed_forward": 64, "text_tokens": 400}


def recipe(folder: Path, **changes: Any) -> TrainRecipe:
    values: dict[str, Any] = {
        "name": "shop", "data": folder / "data", "out": folder / "model",
        "sids": {"levels": [8, 8], "levels_of": {"book": [6, 12]}, "collaborative": 1.0, "collaborative_dimension": 8},
        "base": FRESH,
        "instruct": {"steps": 6, "batch_tokens": 256, "checkpoint_steps": 3, "log_steps": 2},
    }  # fmt: skip
    return checked_recipe(values | changes, "test")


def run(chosen: TrainRecipe) -> Path:
    Training(chosen, read_dataset(chosen.data), Console(quiet=True)).run()
    return chosen.out


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> TrainRecipe:
    folder = tmp_path_factory.mktemp("fresh")
    write_shop(folder / "data")
    chosen = recipe(folder)
    run(chosen)
    return chosen


def test_the_folder_holds_the_model_and_how_it_came_to_be(fresh: TrainRecipe) -> None:
    model = NeoModel.load(fresh.out)
    assert model.name == "shop"
    assert {name: book.space.level_sizes for name, book in model.codebooks.items()} == {"book": (6, 12), "film": (8, 8)}
    metrics = [json.loads(line) for line in (fresh.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2, 4, 6]
    assert all(line["tokens_per_s"] > 0 for line in metrics)
    card = (fresh.out / "README.md").read_text()
    assert "| instruct | 6 |" in card
    assert "next item, film" in card
    assert json.loads((fresh.out / "recipe.json").read_text())["sids"]["collaborative"] == 1.0
    assert not list((fresh.out / "stages").rglob("checkpoint-*"))


def test_a_served_catalog_gives_items_the_ids_that_the_model_was_trained_with(
    fresh: TrainRecipe, tmp_path: Path
) -> None:
    """Known ones by their exact vectors; a new one from its text alone, by the embedder that came with the model."""
    keys = list(items_by_key(read_dataset(fresh.data)))
    trained = assigned_sids(fresh.data, fresh.out / "stages" / "sids", keys)
    assert trained.refused == 0
    assert len({(key.type, sid) for key, sid in trained.sids.items()}) == len(keys), "each item has its own"
    with closing(open_or_create(Settings(catalog=tmp_path / "catalog", model=fresh.out))) as catalog:
        assert isinstance(catalog.encoder.embedder, MixedEmbedder)
        load_files(catalog, [str(fresh.data / "items.jsonl")], embeddings=fresh.out / "embeddings.npy")
        assert catalog.reader.pin(keys).sids == trained.sids
        new = tmp_path / "new.jsonl"
        new.write_text(
            '{"type": "film", "id": "new", "title": "The space river", "attributes": {"genres": ["space"]}}\n'
        )
        load_files(catalog, [str(new)])
        assert catalog.reader.pin([ItemKey("film", "new")]).sids


def test_the_model_says_which_tuples_it_was_trained_on(fresh: TrainRecipe) -> None:
    keys = list(items_by_key(read_dataset(fresh.data)))
    sids = assigned_sids(fresh.data, fresh.out, keys).sids
    learned = NeoModel.load(fresh.out).learned
    assert {name: packed.tolist() for name, packed in learned.items()} == {
        name: sorted({sid for key, sid in sids.items() if key.type == name}) for name in ("book", "film")
    }


def test_a_finished_run_is_not_run_again_and_another_recipe_is_refused(fresh: TrainRecipe) -> None:
    before = (fresh.out / "model.safetensors").stat().st_mtime_ns
    run(fresh)
    assert (fresh.out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(StartupError, match="another recipe"):
        run(fresh.model_copy(update={"name": "other"}))


def test_a_run_that_began_before_the_recipe_had_a_field_goes_on(fresh: TrainRecipe) -> None:
    file = fresh.out / "recipe.json"
    told = json.loads(file.read_text())
    del told["samples"]["new_items"]
    file.write_text(json.dumps(told))
    run(fresh)


@pytest.mark.parametrize("samples", [{"order": "raw"}, {"fit": "TV"}, {"new_items": 0.1}])
def test_semantic_ids_that_know_what_is_held_out_are_refused(
    fresh: TrainRecipe, tmp_path: Path, samples: dict[str, Any]
) -> None:
    chosen = recipe(tmp_path, data=fresh.data, out=tmp_path / "model", samples=samples)
    training = Training(chosen, read_dataset(chosen.data), Console(quiet=True))
    for stage in (training.start, lambda folder: training.instruct(folder, chosen.out)):
        with pytest.raises(StartupError, match="its codes would know what is held out; fit again with --order"):
            stage(fresh.out)


def test_the_recipe_of_a_single_stage_says_how_its_semantic_ids_were_fitted(fresh: TrainRecipe, tmp_path: Path) -> None:
    arguments = ["train", "instruct", str(fresh.data), "--from", str(fresh.out), "--out", str(tmp_path / "model")]
    done = CliRunner().invoke(app, [*arguments, "--steps", "1"])
    assert done.exit_code == 0, done.output
    assert read_trained(tmp_path / "model").sids == fresh.sids


def live_catalog(fresh: TrainRecipe, folder: Path, *, without: int = 0) -> Path:
    """One that took the same items in another order, as a topic of many partitions hands them out."""
    lines = (fresh.data / "items.jsonl").read_text().splitlines(keepends=True)
    (folder / "turned.jsonl").write_text("".join(reversed(lines[without:])))
    with closing(open_or_create(Settings(catalog=folder / "live", model=fresh.out))) as catalog:
        load_files(catalog, [str(folder / "turned.jsonl")])
    return folder / "live"


def test_a_live_catalogs_own_ids_are_learned_and_evaluated(fresh: TrainRecipe, tmp_path: Path) -> None:
    live = live_catalog(fresh, tmp_path)
    items = items_by_key(read_dataset(fresh.data))
    chosen = fresh.model_copy(update={"catalog": live, "out": tmp_path / "model"})
    Training(chosen, read_dataset(chosen.data), Console(quiet=True)).instruct(fresh.out, chosen.out)
    reader, _ = open_reader(live)
    with closing(reader.store):
        theirs = dict(reader.pin(list(items)).sids)
    assert theirs != assigned_sids(fresh.data, fresh.out, list(items)).sids
    recorded = read_trained(chosen.out)
    with closing(ServedModel(chosen.out, chosen.data, live=recorded.catalog)) as served:
        assert served.catalog.reader.pin(list(items)).sids == theirs


def test_after_training_over_a_live_catalog_that_one_is_served_and_found_again_from_anywhere(
    fresh: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = live_catalog(fresh, tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "instruct", str(fresh.data), "--from", str(fresh.out), "--out", "model", "--steps", "2"]
    done = CliRunner().invoke(app, [*arguments, "--catalog", "live"])
    assert done.exit_code == 0, done.output
    assert "neo catalog load" not in done.output
    assert f"neo serve --catalog {live} --model model" in done.output
    assert read_trained(tmp_path / "model").catalog == live


def test_a_live_catalog_without_an_item_or_of_other_codebooks_is_refused(fresh: TrainRecipe, tmp_path: Path) -> None:
    live = live_catalog(fresh, tmp_path, without=2)
    chosen = fresh.model_copy(update={"catalog": live, "out": tmp_path / "model"})
    training = Training(chosen, read_dataset(chosen.data), Console(quiet=True))
    with pytest.raises(StartupError, match=r"2 items are not in .*live; publish them"):
        training.instruct(fresh.out, chosen.out)
    other = fresh.sids.model_copy(update={"seed": 5})
    fit_sids(training.dataset, other, tmp_path / "other", order=fresh.samples.order, fit=fresh.samples.fit)
    with pytest.raises(MismatchError, match="do not belong together"):
        assigned_sids(fresh.data, tmp_path / "other", [], live=live)


def test_a_live_catalog_cannot_be_without_the_items_that_are_to_be_new(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"test: Value error, samples.new_items: a live catalog has them already"):
        recipe(tmp_path, catalog=tmp_path / "live", samples={"new_items": 0.05})


def pretrained(kind: str, folder: Path) -> str:
    tokenizer = fresh_tokenizer(["Recommend a film. Find a book about war. Describe it."], 300)
    shape = {
        "vocab_size": len(tokenizer) + 20, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    if kind == "qwen3":
        lm: Any = Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8, tie_word_embeddings=True))
    else:
        lm = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=False))
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("kind", "trained"), [("qwen3", "all"), ("llama", "lora")])
def test_a_pretrained_decoder_is_aligned_then_instructed(kind: str, trained: str, tmp_path: Path) -> None:
    write_shop(tmp_path / "data", users=40)
    stage = {"steps": 3, "batch_tokens": 256, "log_steps": 1}
    chosen = recipe(
        tmp_path, base={"name": pretrained(kind, tmp_path / "base")}, sids={"levels": [8, 8]}, align=stage,
        instruct=stage | {"trained": trained, "lora_rank": 4, "row_tokens": 100},
    )  # fmt: skip
    run(chosen)
    aligned = NeoModel.load(chosen.out / "stages" / "aligned").lm.state_dict()
    started = NeoModel.load(chosen.out / "stages" / "start").lm.state_dict()
    final = NeoModel.load(chosen.out).lm.state_dict()
    assert aligned.keys() == started.keys() == final.keys()
    changed = {name for name, weight in aligned.items() if not weight.equal(started[name])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight"}
    attention = "model.layers.0.self_attn.q_proj.weight"
    assert not final[attention].equal(aligned[attention])
    stages = [json.loads(line)["stage"] for line in (chosen.out / "metrics.jsonl").read_text().splitlines()]
    assert stages == ["align"] * 3 + ["instruct"] * 3


def test_a_grounded_model_is_no_base(fresh: TrainRecipe, tmp_path: Path) -> None:
    write_shop(tmp_path / "data", users=20)
    with pytest.raises(ModelError, match="already has"):
        run(recipe(tmp_path, base={"name": str(fresh.out)}))
