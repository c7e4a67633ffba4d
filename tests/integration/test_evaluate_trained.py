"""A trained model among the rankers: its lists are its own probabilities, its answers are checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from neo_runtime.cli.main import app
from neo_runtime.data.dataset import Dataset
from neo_runtime.data.line import Query
from neo_runtime.data.split import Cases, Fit, Order, Part, Split, leave_one_out
from neo_runtime.engine.api import Constraints, GenerateWork, RankWork
from neo_runtime.errors import DataError, NoEligibleItemError, StartupError
from neo_runtime.evaluation.answers import _f1, check_answers
from neo_runtime.evaluation.decoding import NEW, VALID, FreeBeams, Samples
from neo_runtime.evaluation.metrics import Hits
from neo_runtime.evaluation.neo import BEAMS, NeoModels, NeoRanker, NeoSearcher
from neo_runtime.evaluation.ranker import NONE
from neo_runtime.evaluation.results import Check, Key, Results, Run
from neo_runtime.evaluation.run import NEW_ITEMS, NEXT_ITEM
from neo_runtime.evaluation.run_search import SEARCH
from neo_runtime.evaluation.served import ServedModel
from neo_runtime.evaluation.strangers import check_strangers
from neo_runtime.prompt.message import Conversation, Task, TaskPrompt, Turn
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say
from neo_runtime.types import ItemKey
from tests.kit.shop import models_of, trained_shop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and, trained on its shuffled order for seconds, `model`."""
    return trained_shop(
        tmp_path_factory.mktemp("trained"), {"context_items": 3},
        {"steps": 150, "batch_tokens": 1_024, "warmup_steps": 20},
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(trained: Path) -> Iterator[NeoModels]:
    with models_of(trained) as found:
        yield found


@pytest.fixture(scope="module")
def dataset(models: NeoModels) -> Dataset:
    return models.dataset


def probabilities(
    served: ServedModel, dataset: Dataset, item_type: str, history: list[ItemKey], denied: Sequence[ItemKey] = (),
    *, among_levels: bool = False,
) -> dict[ItemKey, float]:  # fmt: skip
    """Of every item of the type, one forward pass each, by the model alone: further codes among those that lead to an
    item, or `among_levels`. With some `denied`: of the others, each code among those that lead to one of them.
    """
    model, space = served.model, served.model.codebooks[item_type].space
    keys = [item.key for item in dataset.items[item_type]]
    sids = served.catalog.reader.pin([*keys, *history]).sids
    renderer = PromptRenderer(model.tokenizer, model.vocabulary)
    prompt = renderer.render(say(TaskPrompt(Task.RECOMMEND, item_type), tuple(history)), sids)
    found = {}
    left = [space.unpack_one(sids[key]) for key in keys if key not in denied]
    for key in [key for key in keys if key not in denied]:
        span = model.vocabulary.span(item_type, space.unpack_one(sids[key]))
        with torch.inference_mode():
            logits = model.lm(torch.tensor([[*prompt, *span]])).logits[0].float()
        total = 0.0
        for level, token in enumerate(span[1:-1]):
            codes = model.vocabulary.level_tokens(item_type, level)
            scores = logits[len(prompt) + level, codes].clone()
            if denied or (level and not among_levels):
                prefix = space.unpack_one(sids[key])[:level]
                dead = {*range(len(scores))} - {tuple_[level] for tuple_ in left if tuple_[:level] == prefix}
                scores[list(dead)] = -torch.inf
            scores = scores.log_softmax(-1)
            total += float(scores[token - codes.start])
        found[key] = total
    return found


def test_lists_are_the_items_that_the_model_finds_likeliest(models: NeoModels, dataset: Dataset) -> None:
    split = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.SHUFFLED)
    ranker = NeoRanker(models, 0)
    ranker.fit(split, Fit.T)
    cases = split.cases(Part.TEST).take(np.arange(0, 90, 10))
    ranked = ranker.rank(cases.asked)
    with models.served(models.trained[0]) as served:
        for place, row in enumerate(cases.asked.rows.tolist()):
            history = [dataset.items["film"][item].key for item in cases.asked.histories[place].tolist()]
            prompt = [*ranker._elsewhere(row), *history]
            expected = probabilities(served, dataset, "film", prompt)
            for key in history:
                del expected[key]
            best = sorted(expected.values(), reverse=True)[:BEAMS]
            kept = ranked.items[place] != NONE
            assert kept.sum() == len(best)
            np.testing.assert_allclose(ranked.scores[place][kept], best, atol=1e-4)
            named = [expected[dataset.items["film"][item].key] for item in ranked.items[place][kept].tolist()]
            np.testing.assert_allclose(ranked.scores[place][kept], named, atol=1e-4)


def asked_films(dataset: Dataset) -> tuple[Split, Cases]:
    split = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.SHUFFLED)
    return split, split.cases(Part.TEST).take(np.arange(90))


def test_free_beams_that_end_on_items_score_each_code_among_its_level(models: NeoModels, dataset: Dataset) -> None:
    split, cases = asked_films(dataset)
    told = list[Check]()
    ranker = FreeBeams(models, 0, told=told.append)
    ranker.fit(split, Fit.T)
    ranked = ranker.rank(cases.asked)
    assert [(check.name, check.asked) for check in told] == [(VALID, 90 * BEAMS), (NEW, 90 * BEAMS)]
    assert 0.2 < told[1].share < told[0].share < 1, "8 x 8 tuples for 48 items: some are free"
    assert (ranked.items != NONE).sum() == round(told[1].share * 90 * BEAMS)
    for items, history in zip(ranked.items, cases.asked.histories, strict=True):
        found = items[items != NONE].tolist()
        assert len({*found}) == len(found)
        assert not {*found} & {*history.tolist()}
    with models.served(models.trained[0]) as served:
        for place in range(0, 90, 10):
            history = [dataset.items["film"][item].key for item in cases.asked.histories[place].tolist()]
            prompt = [*ranker._elsewhere(int(cases.asked.rows[place])), *history]
            expected = probabilities(served, dataset, "film", prompt, among_levels=True)
            kept = ranked.items[place] != NONE
            found = [dataset.items["film"][item].key for item in ranked.items[place][kept].tolist()]
            assert kept.sum() > 5
            np.testing.assert_allclose([expected[key] for key in found], ranked.scores[place][kept], atol=1e-4)


def test_samples_are_drawn_as_likely_as_the_trie_leaves_them(models: NeoModels, dataset: Dataset) -> None:
    split, cases = asked_films(dataset)
    told = list[Check]()
    ranker = Samples(models, 0, told=told.append)
    ranker.fit(split, Fit.T)
    same = cases.take(np.zeros(400, np.int64))
    ranked = ranker.rank(same.asked)
    assert [check.share for check in told] == [1, 1]
    kept = ranked.items != NONE
    assert (ranked.scores[kept].sum(), kept.sum(1).max() <= BEAMS) == (400 * BEAMS, True)
    assert (np.diff(np.where(kept, ranked.scores, 0), axis=1) <= 0).all(), "those drawn more often come first"
    drawn = np.bincount(ranked.items[kept], weights=ranked.scores[kept], minlength=len(dataset.items["film"]))
    history = [dataset.items["film"][item].key for item in cases.asked.histories[0].tolist()]
    with models.served(models.trained[0]) as served:
        prompt = [*ranker._elsewhere(int(cases.asked.rows[0])), *history]
        likely = probabilities(served, dataset, "film", prompt, denied=history)
    expected = np.array([np.exp(likely.get(item.key, -np.inf)) for item in dataset.items["film"]])
    assert expected.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=0.015)


def test_what_users_did_elsewhere_is_in_the_prompt_and_their_held_out_items_are_not(
    models: NeoModels, dataset: Dataset
) -> None:
    film, book = (
        leave_one_out(dataset.sequences[name], len(dataset.items[name]), Order.SHUFFLED) for name in ("film", "book")
    )
    ranker = NeoRanker(models, 0)
    ranker.fit(film, Fit.T)
    training = book.training(Fit.T)
    rows = {int(user): row for row, user in enumerate(book.sequences.users)}
    seen = 0
    for row, user in enumerate(film.sequences.users.tolist()):
        found = ranker._elsewhere(row)
        known = training[rows[user]].tolist() if user in rows else []
        assert found == [dataset.items["book"][place].key for place in known[-3:]]
        seen += bool(found)
    assert seen > 50


def test_a_model_of_another_order_or_seed_is_not_taken_for_it(models: NeoModels, dataset: Dataset) -> None:
    raw = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.RAW)
    with pytest.raises(DataError, match=r"raw order.*samples\.order"):
        NeoRanker(models, 0).fit(raw, Fit.T)
    shuffled = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.SHUFFLED)
    with pytest.raises(DataError, match="seed 1"):
        NeoRanker(models, 1).fit(shuffled, Fit.T)
    with pytest.raises(DataError, match="fitted on TV"):
        NeoRanker(models, 0).fit(shuffled, Fit.TV)


def test_a_folder_without_a_finished_model_is_named(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(StartupError, match="neo train"):
        NeoModels([tmp_path], tmp_path, dataset)


def test_searches_find_items_of_the_type_alone(models: NeoModels, dataset: Dataset) -> None:
    queries = [Query((theme, "journey"), (dataset.items["book"][0].key,)) for theme in ("space", "war", "love")]
    ranked = NeoSearcher(models, models.trained[0], "book").search(queries)
    assert ranked.items.shape == (3, BEAMS)
    assert (ranked.items[:, :10] != NONE).all()
    assert ranked.items.max() < len(dataset.items["book"])


def test_every_check_of_answers_is_a_share_and_spans_are_always_real(models: NeoModels, dataset: Dataset) -> None:
    with models.served(models.trained[0]) as served:
        checks = {(check.item_type, check.name): check for check in check_answers(served, dataset)}
    assert {item_type for item_type, _ in checks} == {"film", "book"}
    assert all(0 <= check.share <= 1 for check in checks.values())
    real = [check for (_, name), check in checks.items() if name.startswith("spans that are real")]
    assert len(real) == 4
    assert all(check.share == 1 for check in real if check.asked)
    assert sum(check.asked for check in real) > 0


def test_a_user_without_a_history_gets_one_list_beside_the_most_popular_items(
    models: NeoModels, dataset: Dataset
) -> None:
    with models.served(models.trained[0]) as served:
        found = list(check_strangers(dataset, Order.SHUFFLED, partial(models.without_history, served)))
        (answer,) = served.answers([RankWork(TaskPrompt(Task.RECOMMEND, "film"), constraints=Constraints(("film",)))])
    checks = {(check.item_type, check.name): check for check in found}
    assert set(checks) == {
        (name, f"without a history: HR@10{who}") for name in ("film", "book") for who in ("", ", by popularity")
    }
    split = leave_one_out(dataset.sequences["film"], len(dataset.items["film"]), Order.SHUFFLED)
    targets = [dataset.items["film"][row].key.id for row in split.cases(Part.TEST).targets.tolist()]
    assert isinstance(answer, list)
    listed = {item for row in answer[0].ranked for item in row.item_ids}  # type: ignore[union-attr]
    film = checks["film", "without a history: HR@10"]
    assert (film.asked, film.share) == (len(targets), float(np.mean([target in listed for target in targets])))


def test_errors_of_single_requests_are_answers_too(models: NeoModels) -> None:
    hello = Conversation((Turn("user", ("hello",)),))
    nothing = RankWork(hello, constraints=Constraints(("film",), allow=frozenset()))
    with models.served(models.trained[0]) as served:
        told = list[tuple[int, int]]()
        answers = served.answers([nothing, GenerateWork(hello)] * 200, lambda done, total: told.append((done, total)))
    assert all(isinstance(answer, NoEligibleItemError) for answer in answers[::2])
    assert all(isinstance(answer, list) for answer in answers[1::2])
    assert told[-1] == (400, 400)


def test_one_command_adds_the_model_to_the_report(trained: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(trained / "data"), "--out", str(tmp_path), "--neo", str(trained / "model")]
    done = CliRunner().invoke(app, [*arguments, "--models", "popularity,neo,neo+pctm", "--search", "bm25,neo"])
    assert done.exit_code == 0, done.output
    report = (tmp_path / "report.md").read_text()
    assert "| neo+pctm | T | shuffled | fused |" in report
    assert "## answers of neo, shuffled, T, seed 0" in report
    for format_ in ("items alone where a list is asked for", "explained: an item and words", "profile: words alone"):
        assert f"{format_}, new words" in report


def test_figures_of_a_model_that_was_trained_again_are_dropped(
    trained: Path, models: NeoModels, dataset: Dataset, tmp_path: Path
) -> None:
    def run(task: str, name: str, seed: int = 0) -> Run:
        order, fit = ("", "") if task == SEARCH else ("shuffled", "T")
        return Run(Key(task, "film", name, order, fit, seed), 1, False, {}, {}, 0, 0)

    kept = [run(NEXT_ITEM, "pctm"), run(NEXT_ITEM, "neo", seed=1), run(NEW_ITEMS, "neo@1"), run(SEARCH, "bm25")]
    stale = [run(NEXT_ITEM, "neo"), run(NEXT_ITEM, "pctm+neo"), run(SEARCH, "bm25+neo")]
    results = Results(tmp_path, "data")
    assert models.claim(results) == 0
    results.add_checks(models.trained[0].words, [Check("film", "a", 1, 1.0)])
    for one in (*kept, *stale):
        results.add(one, Hits(np.zeros((1, 5), np.bool_), np.ones(1, np.int64)))
    assert models.claim(results) == 0, "it is the same model"
    again = tmp_path / "again"
    shutil.copytree(trained / "model", again, ignore=shutil.ignore_patterns("stages"))
    (again / "model.safetensors").write_bytes((again / "model.safetensors").read_bytes() + b" ")
    assert NeoModels([again], trained / "data", dataset).claim(results) == len(stale)
    assert results.runs == kept
    assert not Results(tmp_path, "data").checks


@pytest.mark.parametrize(
    ("stated", "true", "expected"),
    [([], {"a"}, 0.0), (["a"], {"a"}, 1.0), (["a", "b"], {"a"}, 2 / 3), (["b"], {"a"}, 0.0), (["a", "a"], {"a"}, 1.0)],
)
def test_f1_of_stated_facts(stated: list[str], true: set[str], expected: float) -> None:
    assert _f1(stated, true) == pytest.approx(expected)
