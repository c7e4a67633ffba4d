"""Items held out of all training: nothing is fitted on them or made of them, and they are published afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.config import Settings
from neo_runtime.data.dataset import Dataset, read_dataset
from neo_runtime.data.split import Asked, Fit, Order, hold_out_items, keep_out, leave_one_out
from neo_runtime.embed.base import unit_rows
from neo_runtime.embed.load import EMBEDDER_FOLDER, load_folder
from neo_runtime.errors import DataError
from neo_runtime.evaluation.content import ContentKnn, Likeness
from neo_runtime.evaluation.models import MODELS, model
from neo_runtime.evaluation.ranker import NONE, Ranked
from neo_runtime.evaluation.reserved import EVERY, Reserved, reserve
from neo_runtime.ingest.bulk import load_files
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.training.examples import Sample
from neo_runtime.training.families import align_mixture, instruct_mixture
from neo_runtime.training.recipe import BaseRecipe, SidsRecipe, checked_recipe
from neo_runtime.training.samples.histories import splits_of
from neo_runtime.training.sids import assigned_sids, catalog_of, fit_sids, items_by_key
from neo_runtime.training.start import start_model
from neo_runtime.types import ItemKey
from tests.kit.interactions import sequences
from tests.kit.shop import write_shop

SHARE = 0.25
SIDS = SidsRecipe(levels=[8, 8], collaborative=1.0, collaborative_dimension=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def kept_out(folder: Path) -> Dataset:
    return keep_out(read_dataset(folder), SHARE)


@pytest.fixture(scope="module")
def fitted(kept_out: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fitted")
    fit_sids(kept_out, SIDS, out, order=Order.SHUFFLED, fit=Fit.T)
    return out


def new_keys(dataset: Dataset) -> list[ItemKey]:
    return [item.key for name in dataset.items for item in dataset.later_items(name)]


def parts_of(sample: Sample) -> Iterator[object]:
    for turn in sample.conversation.turns:
        yield from turn.parts
    yield from sample.answer


def test_training_and_evaluation_hold_the_same_items_out(kept_out: Dataset) -> None:
    for name, split in splits_of(kept_out, Order.SHUFFLED).items():
        asked = hold_out_items(leave_one_out(kept_out.sequences[name], split.item_count, Order.SHUFFLED), SHARE)
        assert split.new_items.sum() == round(SHARE * split.item_count)
        assert split.new_items.tolist() == asked.new_items.tolist()


@pytest.mark.parametrize("learn_history", [True, False])
@pytest.mark.parametrize("fit", Fit)
def test_no_sample_of_any_family_holds_a_new_item(
    folder: Path, kept_out: Dataset, tmp_path: Path, fit: Fit, learn_history: bool
) -> None:
    recipe = checked_recipe(
        {
            "data": folder, "out": tmp_path, "instruct": {"learn_history": learn_history},
            "samples": {"fit": fit, "context_share": 1.0, "describe": 1, "kind": 1, "explain": 1, "profile": 1},
        },
        "test",
    )  # fmt: skip
    stage = recipe.stage("instruct")
    mixtures = [align_mixture(kept_out, stage), instruct_mixture(kept_out, recipe, stage, tmp_path / "labels")]
    families = {name.split(",")[0] for mixture in mixtures for name in mixture.counts}
    assert families == {
        "item to text", "text to item", "item to type", "search", "next item", "explain", "profile",
    }  # fmt: skip
    keys = set(new_keys(kept_out))
    titles = [item.title for name in kept_out.items for item in kept_out.later_items(name)]
    seen = set()
    for mixture in mixtures:
        for number in range(2 * len(mixture)):
            for part in parts_of(mixture.sample(number)):
                assert part not in keys
                if isinstance(part, ItemKey):
                    seen.add(part)
                elif isinstance(part, str):
                    assert not any(f"{title}." in f"{part}." for title in titles)
    assert seen == set(items_by_key(kept_out)), "each of the others is learned"


def test_nothing_that_is_fitted_depends_on_new_items(
    folder: Path, kept_out: Dataset, fitted: Path, tmp_path: Path
) -> None:
    """With other words, and in other users' histories: the same codebooks, embedder and tokenizer."""
    changed = tmp_path / "data"
    changed.mkdir()
    lines = (folder / "items.jsonl").read_text().splitlines()
    for number in kept_out.new_lines:
        lines[number] = json.dumps(
            {**json.loads(lines[number]), "title": f"Zebra quartz {number}", "description": "", "attributes": {}}
        )
    (changed / "items.jsonl").write_text("\n".join(lines) + "\n")
    first, second, *_ = (str(key) for key in new_keys(kept_out) if key.type == "film")
    swapped = (folder / "interactions.jsonl").read_text().replace(f'"{first}"', '"?"')
    (changed / "interactions.jsonl").write_text(swapped.replace(f'"{second}"', f'"{first}"').replace("?", second))
    other = keep_out(read_dataset(changed), SHARE)
    fit_sids(other, SIDS, tmp_path / "sids", order=Order.SHUFFLED, fit=Fit.T)
    ours, theirs = (load_codebooks(place / "codebooks") for place in (fitted, tmp_path / "sids"))
    assert {name: book.fingerprint for name, book in ours.items()} == {
        name: book.fingerprint for name, book in theirs.items()
    }
    assert load_folder(fitted / EMBEDDER_FOLDER).name == load_folder(tmp_path / "sids" / EMBEDDER_FOLDER).name
    base = BaseRecipe(width=16, layers=1, heads=2, key_value_heads=1, feed_forward=16, text_tokens=400)
    vocabularies = [start_model("m", base, fitted, dataset).tokenizer.get_vocab() for dataset in (kept_out, other)]
    assert vocabularies[0] == vocabularies[1]


def test_known_items_keep_their_sids_when_the_new_ones_are_published(
    folder: Path, kept_out: Dataset, fitted: Path, tmp_path: Path
) -> None:
    """And the new ones get those that a catalog gives to what comes later, with nothing but their text."""
    lines = (folder / "items.jsonl").read_text().splitlines(keepends=True)
    known, new = tmp_path / "known.jsonl", tmp_path / "new.jsonl"
    known.write_text("".join(line for number, line in enumerate(lines) if number not in kept_out.new_lines))
    new.write_text("".join(lines[number] for number in sorted(kept_out.new_lines)))
    vectors = np.load(fitted / "embeddings.npy")
    np.save(tmp_path / "known.npy", np.delete(vectors, sorted(kept_out.new_lines), axis=0))
    keys, later = list(items_by_key(kept_out)), new_keys(kept_out)
    catalog = open_or_create(Settings(catalog=tmp_path / "catalog", model=fitted))
    load_files(catalog, [str(known)], embeddings=tmp_path / "known.npy")
    before = dict(catalog.reader.pin(keys).sids)
    load_files(catalog, [str(new)])
    after = dict(catalog.reader.pin([*keys, *later]).sids)
    catalog.close()
    assert before == {key: after[key] for key in keys}
    assert assigned_sids(folder, fitted, keys, kept_out.new_lines).sids == before
    with catalog_of(folder, fitted, kept_out.new_lines) as served:
        assert dict(served.reader.pin([*keys, *later]).sids) == after
    assert len(after) == len(lines)


def lists(*rows: list[int]) -> Ranked:
    items = np.array(rows, np.int32)
    return Ranked(items, -np.arange(items.shape[1], dtype=np.float32) + np.zeros((len(rows), 1), np.float32))


@pytest.mark.parametrize(
    ("ordinary", "new", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], [90, 91, 92], [1, 2, 90, 3, 4, 91]),
        ([90, 1, 2, 3, 4, 5], [90, 91, 92], [90, 1, 91, 2, 3, 92]),
        ([1, 2, 3, 4, 5, 6], [90, NONE, NONE], [1, 2, 90, 3, 4, 5]),
        ([1, NONE, NONE, NONE, NONE, NONE], [90, 91, NONE], [1, 90, 91, NONE, NONE, NONE]),
    ],
)
def test_every_third_place_is_a_new_items_and_where_a_list_ends_the_other_goes_on(
    ordinary: list[int], new: list[int], expected: list[int]
) -> None:
    merged = reserve(lists(ordinary), lists(new), 3)
    assert merged.items.tolist() == [expected]
    assert (np.isneginf(merged.scores) == (merged.items == NONE)).all()
    assert (np.diff(merged.scores[merged.items != NONE]) < 0).all()


def test_a_ranker_of_scores_keeps_the_places_and_leaves_out_the_history() -> None:
    random = np.random.default_rng(0)
    rows = [random.permutation(60)[:6].tolist() for _ in range(30)]
    split = hold_out_items(leave_one_out(sequences(rows), 60, Order.RAW), 0.3)
    ranker = Reserved(ContentKnn(random.normal(size=(60, 8)).astype(np.float32), Likeness(1.0, 1.0)))
    ranker.fit(split, Fit.T)
    assert str(EVERY) in ranker.constants
    histories = sequences(rows).items
    ranked = ranker.rank(Asked(np.arange(30), histories), 12)
    for items, history in zip(ranked.items, histories, strict=True):
        assert split.new_items[items[EVERY - 1 :: EVERY]].all()
        assert not set(items.tolist()) & set(history.tolist())
        assert len(set(items.tolist())) == len(items)


def test_items_are_scored_by_their_likeness_to_each_of_the_history_the_last_first() -> None:
    vectors = unit_rows(np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32))
    histories = [[3, 7, 11], [0]]
    ranker = ContentKnn(vectors, Likeness(2.0, 0.5))
    ranker.fit(leave_one_out(sequences(histories), 20, Order.RAW), Fit.T)
    found = ranker.scores(Asked(np.arange(2), sequences(histories).items))
    for history, scores in zip(histories, found, strict=True):
        cosines = np.maximum(vectors[history] @ vectors.T, 0)
        weights = 0.5 ** np.arange(len(history))[::-1]
        assert scores == pytest.approx(weights @ cosines**2, rel=1e-4)


def test_what_cannot_rank_some_items_alone_keeps_no_places() -> None:
    assert model("content-knn-new").favours_new
    assert not model("content-knn").favours_new
    fused = model("rules+pctm").make  # a fusion is two lists, not scores of all items
    with pytest.raises(DataError, match="rank_among"):
        model("both-new", {**MODELS, "both": MODELS["rules"]._replace(make=fused)}).make(None)  # type: ignore[arg-type]
