"""`neo data` and `neo evaluate`: one report of a folder, finished runs kept, wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from neo_runtime.cli.main import app
from neo_runtime.data.dataset import read_dataset
from neo_runtime.data.split import Asked, Fit, Order, Split
from neo_runtime.errors import DataError, NotFoundError
from neo_runtime.evaluation.bootstrap import interval
from neo_runtime.evaluation.metrics import DEEPEST, MAIN, means, per_question, single_hits
from neo_runtime.evaluation.models import MODELS, Model, model
from neo_runtime.evaluation.popularity import Popularity
from neo_runtime.evaluation.published import FILE, Published, published
from neo_runtime.evaluation.ranker import Ranked
from neo_runtime.evaluation.report import write_report
from neo_runtime.evaluation.report_rows import rows_of
from neo_runtime.evaluation.results import Key, Results, Run
from neo_runtime.evaluation.run import NEXT_ITEM, Plan, evaluate, fingerprint
from tests.kit.interactions import two_tastes, write_folder

ITEMS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [
        {"user": f"u{user}", "item": f"film/{item}", "day": place // 2}
        for user, row in enumerate(two_tastes(80, ITEMS).items)
        for place, item in enumerate(row.tolist())
    ]
    lines += [{"user": f"u{user}", "item": f"book/{(user + step) % 6}"} for user in range(30) for step in range(4)]
    return write_folder(tmp_path_factory.mktemp("data"), {"film": ITEMS, "book": 6}, lines)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_folder_is_checked(folder: Path) -> None:
    found = json.loads(run("data", "check", folder, "--json"))
    assert [(one["type"], one["items"], one["users"], one["clock"]) for one in found["types"]] == [
        ("book", 6, 30, "none"),
        ("film", 40, 80, "day"),
    ]
    assert "interactions" in run("data", "check", folder)


def test_one_report_holds_everything_and_finished_runs_stay(folder: Path, tmp_path: Path) -> None:
    options = ("evaluate", folder, "--out", tmp_path, "--fit", "T,TV", "--new-items")
    first = json.loads(run(*options, "--models", "popularity,rules", "--json"))
    more = json.loads(run(*options, "--models", "popularity,rules,item-knn,rules+item-knn", "--json"))
    assert more["runs"][: len(first["runs"])] == first["runs"], "what was finished was not run again"
    found = {tuple(one["key"]) for one in more["runs"]}
    assert ("next item", "film", "rules+item-knn", "shuffled", "TV", 0) in found
    assert ("next item", "book", "rules", "shuffled", "T", 0) not in found, "no days, one order"
    assert ("search", "book", "bm25", "", "", 0) in found
    markdown, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    for text in ("film: next item, 80 questions", "raw against shuffled", "target is a new item", "95 %"):
        assert text in page
    assert "| rules | T | raw | alone |" in markdown
    assert "| rules+item-knn | TV | shuffled | fused |" in markdown
    assert "film: new items" in markdown
    assert page.count("<svg") == 3
    again = json.loads(run(*options, "--models", "rules", "--again", "--json"))
    assert len(again["runs"]) == len(more["runs"])


def test_a_folder_of_other_data_is_refused(folder: Path, tmp_path: Path) -> None:
    dataset = read_dataset(folder)
    hits = single_hits(np.array([[1, 2]], np.int32), np.array([2], np.int32))
    Results(tmp_path, "other").add(Run(Key(NEXT_ITEM, "film", "mine"), 1, False, means(hits), {}, 0.0, 0.0), hits)
    with pytest.raises(DataError, match="other data"):
        Results(tmp_path, fingerprint(dataset))
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Results(tmp_path, "other")


@pytest.mark.parametrize(
    ("option", "says"), [(("--orders", "up"), "raw"), (("--fit", "V"), "TV"), (("--types", "song"), "book, film")]
)
def test_wrong_options_are_one_line(folder: Path, tmp_path: Path, option: tuple[str, str], says: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(folder), "--out", str(tmp_path), *option])
    assert result.exit_code == 2
    assert says in result.output
    with pytest.raises(NotFoundError):
        CliRunner().invoke(
            app, ["evaluate", str(folder), "--out", str(tmp_path), "--models", "magic"], catch_exceptions=False
        )


@pytest.mark.parametrize("name", ["ease@1", "neo@", "neo@x", "neo@11", "neo@nan", "neo-new@1", "magic-new"])
def test_a_bonus_is_a_number_in_range_and_of_a_model_that_takes_one(name: str) -> None:
    known = {**MODELS, "neo": Model(lambda _: Popularity(), with_bonus=lambda _, bonus: Popularity())}
    assert model("neo@1.5", known).favours_new
    with pytest.raises(NotFoundError):
        model(name, known)


class OneAfter:
    """A model from outside: what lies one and two steps on, by the ids; it notes what it is told."""

    def __init__(self, seed: int) -> None:
        self.seed, self.fits = seed, list[Fit]()

    def fit(self, split: Split, fit: Fit) -> None:
        self.fits.append(fit)

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        last = np.array([row[-1] for row in asked.histories])
        places = (np.arange(k) + self.seed) % k
        items = (last[:, None] + 2 * (1 + places)) % ITEMS
        return Ranked(items.astype(np.int32), -np.arange(k, dtype=np.float32) + np.zeros((len(last), 1), np.float32))


def test_a_model_from_outside_is_evaluated_with_seeds(folder: Path, tmp_path: Path) -> None:
    dataset = read_dataset(folder)
    results = Results(tmp_path, fingerprint(dataset))
    known = {"mine": Model(lambda material: OneAfter(material.seed), is_seeded=True)}
    plan = Plan(["film"], ["mine"], [Order.RAW], [Fit.T], seeds=3, known=known)
    told: list[tuple[int, int, str]] = []
    evaluate(dataset, plan, results, lambda _: np.zeros((0, 0), np.float32), lambda *words: told.append(words))
    assert [run.key.seed for run in results.runs] == [0, 1, 2]
    assert results.runs[0].metrics["HR@5"] == 1.0, "the first seed knows the ring"
    assert told[-1][:2] == (3, 3)
    (row,) = rows_of(results)
    assert row.over_seeds.deviation is not None
    assert row.over_seeds.deviation > 0
    values = np.mean(
        [per_question(results.hits(Key(NEXT_ITEM, "film", "mine", "raw", "T", s)))[MAIN] for s in range(3)], 0
    )
    assert row.intervals[MAIN] == interval(values)
    tables = write_report(tmp_path, dataset, results)
    assert "3 seeds" in (tmp_path / "report.md").read_text()
    assert tables[0].rows[0][0] == "mine"


def test_published_figures_are_whole_and_for_their_data_alone(folder: Path) -> None:
    for known in json.loads(FILE.read_text()).values():
        rows = [Published(*row) for row in known["rows"]]
        assert all(row.grade in "ABC" and row.source for row in rows)
        figures = [value for row in rows for value in row[1:5] if value is not None]
        assert all(0 < value < 0.1 for value in figures)
    assert published(read_dataset(folder), "beauty") == []
