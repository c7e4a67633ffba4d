"""A model that was trained without some items, asked for them: alone, among all, and with places kept for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from neo_runtime.cli.main import app
from neo_runtime.data.dataset import Dataset
from neo_runtime.data.split import NEW_SHARE, Fit, Order, Part, Split, hold_out_items, leave_one_out
from neo_runtime.errors import DataError
from neo_runtime.evaluation.neo import NeoModels, NeoRanker
from neo_runtime.evaluation.ranker import NONE
from neo_runtime.evaluation.reserved import EVERY, Reserved
from neo_runtime.training.sids import assigned_sids, items_by_key
from neo_runtime.training.stages import Training
from tests.kit.shop import models_of, trained_shop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and, trained for a moment without the evaluation's new items, `model`."""
    return trained_shop(
        tmp_path_factory.mktemp("trained"), {"new_items": NEW_SHARE},
        {"steps": 20, "batch_tokens": 512, "warmup_steps": 5},
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(trained: Path) -> Iterator[NeoModels]:
    with models_of(trained) as found:
        yield found


@pytest.fixture(scope="module")
def dataset(models: NeoModels) -> Dataset:
    return models.dataset


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    whole = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.SHUFFLED)
    return hold_out_items(whole, NEW_SHARE)


def test_a_model_is_asked_for_new_items_only_if_it_was_trained_without_them(
    models: NeoModels, dataset: Dataset, split: Split
) -> None:
    NeoRanker(models, 0).fit(split, Fit.T)
    whole = leave_one_out(dataset.sequences["film"], split.item_count, Order.SHUFFLED)
    with pytest.raises(DataError, match=r"with all items.*samples\.new_items = 0\)"):
        NeoRanker(models, 0).fit(whole, Fit.T)
    with pytest.raises(DataError, match=r"without the new items.*samples\.new_items = 0\.05\)"):
        NeoRanker(models, 0).fit(hold_out_items(whole, 2 * NEW_SHARE), Fit.T)
    with pytest.raises(DataError, match="trained with all items"):
        models.searched()


def test_known_items_are_served_with_the_sids_that_training_used(
    trained: Path, models: NeoModels, dataset: Dataset
) -> None:
    training = Training(models.trained[0].recipe, dataset, Console(quiet=True))
    keys = list(items_by_key(training.dataset))
    used = assigned_sids(trained / "data", trained / "model", keys, training.dataset.new_lines)
    with models.served(models.trained[0]) as served:
        assert served.catalog.reader.pin(keys).sids == used.sids
        everything = served.catalog.reader.pin(list(items_by_key(dataset))).sids
    assert len(keys) < len(everything) == sum(map(len, dataset.items.values()))


def test_places_are_kept_for_the_new_items_whose_codes_lie_nearest_to_the_history(
    models: NeoModels, split: Split
) -> None:
    asked = split.cases(Part.TEST).take(np.arange(0, 60, 10)).asked
    ranker = NeoRanker(models, 0)
    reserved = Reserved(ranker)
    reserved.fit(split, Fit.T)
    new = ranker.rank_among(asked, split.new_items, 6)
    merged = reserved.rank(asked, 12)
    for items, merged_items, history in zip(new.items, merged.items, asked.histories, strict=True):
        left = set(np.flatnonzero(split.new_items).tolist()) - set(history.tolist())
        assert set(items[items != NONE].tolist()) == left, "all of them, and no other"
        assert merged_items[EVERY - 1] == items[0] or not left
        assert left <= set(merged_items.tolist())


def test_a_bonus_puts_new_items_first_and_a_malus_last(models: NeoModels, split: Split) -> None:
    asked = split.cases(Part.TEST).take(np.arange(0, 60, 10)).asked
    for bonus, where in ((10.0, slice(None, 1)), (-10.0, slice(-1, None))):
        ranker = NeoRanker(models, 0, bonus=bonus)
        ranker.fit(split, Fit.T)
        for items, history in zip(ranker.rank(asked).items, asked.histories, strict=True):
            left = set(np.flatnonzero(split.new_items).tolist()) - set(history.tolist())
            found = items[items != NONE].tolist()
            assert found[where][0] in left or not left & set(found)


def test_one_command_reports_what_new_items_gain_and_what_the_others_pay(trained: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(trained / "data"), "--out", str(tmp_path), "--neo", str(trained / "model")]
    options = ["--new-items", "--no-next-items", "--orders", "shuffled", "--types", "film", "--search", ""]
    done = CliRunner().invoke(app, [*arguments, *options, "--models", "popularity,popularity-new,neo,neo-new,neo@2"])
    assert done.exit_code == 0, done.output
    report = (tmp_path / "report.md").read_text()
    assert "film: new items" in report
    assert "film: known items" in report
    assert "film: next item" not in report
    table = report.split("new items favoured")[1].split("##")[0]
    assert [table.count(f"| film | {name} |") for name in ("popularity-new", "neo-new", "neo@2")] == [2, 2, 2]
