"""What the task families ask and answer, and how they are mixed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.data.dataset import Dataset, read_dataset
from neo_runtime.data.queries import evaluation_queries, given_queries
from neo_runtime.data.split import Fit, Order, leave_one_out
from neo_runtime.errors import DataError
from neo_runtime.evaluation.paraphrases import PROFILES, REASONS, REQUESTS
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.prompt.phrases import BEGINNINGS, SENTENCES
from neo_runtime.prompt.tasks import say
from neo_runtime.prompt.wordings import PROFILE_WORDINGS, WORDINGS
from neo_runtime.training.examples import ExampleWriter, Sample
from neo_runtime.training.families import align_mixture, history_options, instruct_mixture
from neo_runtime.training.recipe import SamplesRecipe, StageRecipe, checked_recipe
from neo_runtime.training.samples.asides import Asides, foreign_words
from neo_runtime.training.samples.by_fact import Lists, SearchByFacts, listed_facts
from neo_runtime.training.samples.histories import HistoryOptions, read_histories
from neo_runtime.training.samples.items import GivenSearch, ItemToText, ItemToType, Search
from neo_runtime.training.samples.labelled import Explained, Profiles
from neo_runtime.training.samples.mixture import Mixture, Part
from neo_runtime.training.samples.next_item import NextItem
from neo_runtime.training.sids import items_by_key
from neo_runtime.training.teacher import TemplateTeacher
from neo_runtime.types import ItemKey
from tests.kit import tiny
from tests.kit.interactions import write_folder
from tests.kit.shop import write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_shop(tmp_path_factory.mktemp("shop")))


def items_of(sample: Sample) -> list[ItemKey]:
    return [part for turn in sample.conversation.turns for part in turn.parts if isinstance(part, ItemKey)]


def words_of(sample: Sample) -> str:
    return "".join(part for turn in sample.conversation.turns for part in turn.parts if isinstance(part, str))


def drawn(family: object, place: int, seed: int = 0) -> Sample:
    return family.sample(place, np.random.default_rng((seed, place)))  # type: ignore[attr-defined, no-any-return]


PLAIN = HistoryOptions(window=20, context_share=0.0, dropped_share=0.0, shuffles_ties=False)


class TestNextItem:
    def test_the_answer_follows_the_history_in_the_training_part_alone(self, shop: Dataset) -> None:
        histories = read_histories(shop, Order.RAW, Fit.T)["film"]
        split = leave_one_out(shop.sequences["film"], len(shop.items["film"]), Order.RAW)
        keys = [item.key for item in shop.items["film"]]
        family = NextItem(histories, PLAIN, every_prefix=True)
        rows = [row for row, items in enumerate(histories.rows) if len(items)]
        for place in range(20):
            sample = drawn(family, place)
            expected = [keys[item] for item in split.training(Fit.T)[rows[place]].tolist()]
            assert items_of(sample) + list(sample.answer) == expected

    def test_without_targets_in_the_history_any_item_is_the_answer(self, shop: Dataset) -> None:
        family = NextItem(read_histories(shop, Order.RAW, Fit.T)["film"], PLAIN, every_prefix=False)
        lengths = {len(items_of(drawn(family, 0, seed))) for seed in range(60)}
        assert min(lengths) == 0
        assert len(lengths) > 2

    def test_strangers_are_recommended_what_others_chose_last_in_several_wordings(self, shop: Dataset) -> None:
        options, histories = HistoryOptions(context_share=1.0), read_histories(shop, Order.RAW, Fit.T)["film"]
        family = NextItem(histories, options, every_prefix=True, strangers=0.25)
        samples = [drawn(family, place, seed) for place in range(len(family)) for seed in range(10)]
        strangers = [sample for sample in samples if not items_of(sample)]
        assert 0.2 < len(strangers) / len(samples) < 0.3
        assert {sample.answer[0].type for sample in strangers} == {"film"}
        assert not any(sample.context_items for sample in strangers)
        asked = {words_of(sample) for sample in strangers}
        assert asked >= {"Recommend a film.", "I'm looking for a film."}

    def test_what_the_user_did_elsewhere_comes_first_and_is_no_target(self, shop: Dataset) -> None:
        options = HistoryOptions(context_share=1.0, dropped_share=0.0, context_window=3)
        family = NextItem(read_histories(shop, Order.RAW, Fit.T)["film"], options, every_prefix=True)
        samples = [drawn(family, place) for place in range(len(family))]
        with_context = [sample for sample in samples if sample.context_items]
        assert len(with_context) > len(samples) / 3
        for sample in with_context:
            types = [key.type for key in items_of(sample)]
            assert types[: sample.context_items] == ["book"] * sample.context_items
            assert "book" not in types[sample.context_items :]
            assert sample.context_items <= 3

    def test_what_is_held_out_of_another_type_is_never_seen(self, tmp_path: Path) -> None:
        """Though it came before, and times tell so."""
        lines = [{"user": "u", "item": f"book/{n}", "time": 100 + n} for n in range(5)]
        lines += [{"user": "u", "item": f"film/{n}", "time": 1_000 + n} for n in range(5)]
        histories = read_histories(
            read_dataset(write_folder(tmp_path, {"film": 5, "book": 5}, lines)), Order.RAW, Fit.T
        )
        options = HistoryOptions(context_share=1.0, dropped_share=0.0)
        seen = histories["film"].elsewhere(0, options, np.random.default_rng(0))
        assert seen == [ItemKey("book", "0"), ItemKey("book", "1"), ItemKey("book", "2")]

    def test_long_histories_come_in_several_windows(self, shop: Dataset) -> None:
        histories = read_histories(shop, Order.RAW, Fit.T)["film"]
        options = HistoryOptions(window=2, context_share=0.0, dropped_share=0.0)
        family = NextItem(histories, options, every_prefix=True)
        assert len(family) > len(histories)
        assert max(len(items_of(drawn(family, place))) for place in range(len(family))) == 2

    def test_a_recipe_for_the_raw_order_leaves_a_days_items_as_the_file_has_them(self) -> None:
        assert not history_options(SamplesRecipe(order=Order.RAW)).shuffles_ties
        assert history_options(SamplesRecipe(order=Order.SHUFFLED)).shuffles_ties

    def test_items_of_one_day_change_places_and_days_do_not(self, shop: Dataset) -> None:
        histories = read_histories(shop, Order.RAW, Fit.T)["film"]
        options = HistoryOptions(context_share=0.0, dropped_share=0.0)
        row = int(np.argmax(histories.rows.lengths))
        plain = histories.drawn(row, PLAIN, np.random.default_rng(0))
        orders = [histories.drawn(row, options, np.random.default_rng(seed)) for seed in range(20)]
        assert len({tuple(order) for order in orders}) > 1
        assert all(set(order[:2]) == set(plain[:2]) for order in orders)  # two items a day


class TestItems:
    def test_an_item_is_described_and_typed_in_words(self, shop: Dataset) -> None:
        items = shop.items["film"]
        described, typed = drawn(ItemToText(items), 3), drawn(ItemToType(items), 3)
        assert items[3].title in str(described.answer[0])
        assert typed.answer == ("a film",)
        assert items_of(described) == items_of(typed) == [items[3].key]

    def test_searches_are_of_all_kinds_and_none_is_evaluated(self, shop: Dataset) -> None:
        evaluated = {query.text for query in evaluation_queries(shop, "film")}
        family = Search(shop.items["film"], evaluated)
        samples = [drawn(family, place, seed) for place in range(len(family)) for seed in range(4)]
        asked = [words_of(sample).split(": ")[-1].rstrip(".") for sample in samples]
        assert len(set(asked)) > len(samples) / 4
        titles = {item.title for item in shop.items["film"]}
        assert not (set(asked) & evaluated) - titles  # what nothing new could be made of is asked for by its title


class TestByFact:
    def test_searches_name_values_that_the_item_has(self, shop: Dataset) -> None:
        items = shop.items["film"]
        family = SearchByFacts(items)
        assert len(family) == len(items)
        for place in range(10):
            sample = drawn(family, place)
            (key,) = sample.answer
            item = next(item for item in items if item.key == key)
            assert any(fact in words_of(sample) for fact in listed_facts(item))

    def test_lists_name_as_many_items_as_asked_and_all_have_it(self, shop: Dataset) -> None:
        items = {item.key: item for item in shop.items["film"]}
        family = Lists(shop.items["film"])
        for place in range(len(family)):
            sample = drawn(family, place)
            keys = [part for part in sample.answer if isinstance(part, ItemKey)]
            count = {2: "two", 3: "three", 4: "four"}[len(set(keys))]
            assert f" {count} films about " in words_of(sample)
            assert str(sample.answer[0]).startswith(f"Here are {count} about ")
            fact = str(sample.answer[0]).split(" about ")[1].rstrip(": ")
            assert all(fact in listed_facts(items[key]) for key in keys)


class TestLabelled:
    def test_explanations_name_what_target_and_history_share(self, shop: Dataset) -> None:
        items = items_by_key(shop)
        histories = read_histories(shop, Order.RAW, Fit.T)["film"]
        family = Explained(histories, items, TemplateTeacher(items.values()), 30, PLAIN, 0)
        assert len(family) == 30
        for place in range(30):
            sample = drawn(family, place)
            target = sample.answer[1]
            assert isinstance(target, ItemKey)
            reason = str(sample.answer[2])
            genres = {genre for key in items_of(sample) for genre in items[key].attributes["genres"]}  # type: ignore[union-attr]
            named = reason.split("You like ")[1].rstrip(".").split(" and ")
            assert set(named) <= genres & set(items[target].attributes["genres"])  # type: ignore[arg-type]

    def test_profiles_are_asked_for_as_serving_asks(self, shop: Dataset) -> None:
        items = items_by_key(shop)
        histories = read_histories(shop, Order.RAW, Fit.T)["film"]
        family = Profiles(histories, items, TemplateTeacher(items.values()), 30, PLAIN, 0)
        asked = set()
        for place in range(len(family)):
            sample = drawn(family, place)
            history = tuple(items_of(sample))
            said = [say(TaskPrompt(Task.UNDERSTAND, "", history), (), n) for n in range(len(PROFILE_WORDINGS))]
            assert sample.conversation in said
            asked.add(said.index(sample.conversation))
            assert str(sample.answer[0]).startswith("Likes ")
        assert len(asked) > 8

    def test_labels_are_the_same_each_time(self, shop: Dataset) -> None:
        items = items_by_key(shop)
        histories = read_histories(shop, Order.RAW, Fit.T)["book"]
        made = [Profiles(histories, items, TemplateTeacher(items.values()), 10, PLAIN, 5) for _ in range(2)]
        assert [drawn(made[0], place) for place in range(10)] == [drawn(made[1], place) for place in range(10)]


def test_a_folders_own_queries_are_learned_but_for_those_that_are_held_out(tmp_path: Path) -> None:
    write_shop(tmp_path)
    lines = [{"query": [f"film number {n}", "please"], "items": [f"film/f{n}", "film/f40"]} for n in range(40)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shop = read_dataset(tmp_path)
    trained, held_out = given_queries(shop, "film")
    assert 2 <= len(held_out) <= 16
    assert len(trained) + len(held_out) == 40
    assert evaluation_queries(shop, "film") == held_out
    known = {item.key for item in shop.items["film"]} - {ItemKey("film", "f40")}
    family = GivenSearch(trained, known)
    for place, query in enumerate(trained):
        sample = drawn(family, place)
        assert query.text in words_of(sample)
        assert sample.answer == query.items[:1]
    recipe = checked_recipe({"data": tmp_path, "out": tmp_path}, "test")
    counts = instruct_mixture(shop, recipe, recipe.instruct, tmp_path / "labels").counts
    assert counts["given searches, film"] == round(len(trained) * recipe.samples.search)


def test_mixed_tasks_have_twenty_wordings_at_least() -> None:
    assert all(len(set(found)) == len(found) >= 20 for found in (WORDINGS[Task.EXPLAIN], PROFILE_WORDINGS))
    assert all(words.count("{history}") == words.count("{type}") == 1 for words in WORDINGS[Task.EXPLAIN])
    assert all(words[-1] in ".?!" for words in (*WORDINGS[Task.RECOMMEND], *WORDINGS[Task.EXPLAIN], *PROFILE_WORDINGS))


def test_no_request_is_likelier_to_come_with_a_reason_than_another() -> None:
    """Or its words would be taken for a sign of one."""
    explained = WORDINGS[Task.EXPLAIN]
    assert len({*WORDINGS[Task.RECOMMEND]}) == len(WORDINGS[Task.RECOMMEND])
    counts = {sum(words.startswith(request[:-1]) for words in explained) for request in WORDINGS[Task.RECOMMEND]}
    assert counts <= {4, 5}


def test_what_evaluation_asks_in_new_words_is_new() -> None:
    """No five words in a row are in what training says, but where a slot is among them."""

    def runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
        pieces = [re.findall(r"[\w']+", piece) for text in texts for piece in re.split(r"\{\w+\}", text.lower())]
        return {tuple(words[start : start + 5]) for words in pieces for start in range(len(words) - 4)}

    trained = [*WORDINGS[Task.RECOMMEND], *WORDINGS[Task.EXPLAIN], *PROFILE_WORDINGS, *SENTENCES, *BEGINNINGS]
    assert not runs(trained) & runs([*REQUESTS, *REASONS, *PROFILES])


def test_context_codes_are_no_targets() -> None:
    model = tiny.model()
    film, book = ItemKey("film", "a"), ItemKey("book", "b")
    writer = ExampleWriter(model, {film: 77, book: 9}, learn_history=True)
    conversation = say(TaskPrompt(Task.RECOMMEND, "film"), (book, film))
    sample = Sample(conversation, (film,), context_items=1)
    tokens, learned = writer.write(sample)
    prompt = tokens[: len(tokens) - 6]
    targets = [token for token, counts in zip(prompt, learned, strict=False) if counts]
    assert targets == model.vocabulary.span("film", model.vocabulary.spaces["film"].unpack_one(77))[1:-1]


class Numbers:
    """Sample n is answered with its number."""

    def __init__(self, count: int, name: str = "") -> None:
        self._count, self._name = count, name

    def __len__(self) -> int:
        return self._count

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        return Sample(say(TaskPrompt(Task.RECOMMEND, "film"), ()), (f"{self._name}{place}",))


def answers(mixture: Mixture, numbers: Sequence[int]) -> list[str]:
    return [str(mixture.sample(number).answer[0]) for number in numbers]


WITH_HISTORY = ("next_item", "explain", "profile")


class TestAsides:
    WORDS = ("Zirkon", "quartz", "opal")

    @pytest.fixture
    def plain(self, shop: Dataset) -> NextItem:
        return NextItem(read_histories(shop, Order.RAW, Fit.T)["film"], PLAIN, every_prefix=True)

    def test_the_request_its_items_and_its_answer_stay_and_other_words_come_beside(self, plain: NextItem) -> None:
        family = Asides(plain, self.WORDS, 0.99)
        assert len(family) == len(plain)
        texts = []
        for place in range(len(family)):
            sample, before = drawn(family, place), drawn(plain, place)
            assert (items_of(sample), sample.answer) == (items_of(before), before.answer)
            said = iter(words_of(sample).split())
            assert all(word in said for word in words_of(before).split()), "the request's own words, in their order"
            texts.append(words_of(sample))
        for kind in (self.WORDS, SENTENCES, BEGINNINGS):
            assert 0.2 < np.mean([any(words in text for words in kind) for text in texts]) < 0.9

    def test_texts_beside_one_another_are_one(self, plain: NextItem) -> None:
        """As a request has them: how text is cut changes how it is tokenized."""
        family = Asides(plain, self.WORDS, 0.99)
        for place in range(len(family)):
            parts = drawn(family, place).conversation.turns[-1].parts
            assert all(parts)
            assert not any(isinstance(a, str) and isinstance(b, str) for a, b in pairwise(parts))

    def test_as_many_requests_have_them_as_asked_for(self, plain: NextItem) -> None:
        for share, words in ((0.0, self.WORDS), (0.3, self.WORDS), (0.3, ())):
            family = Asides(plain, words, share)
            changed = [drawn(family, 0, seed) != drawn(plain, 0, seed) for seed in range(400)]
            assert abs(np.mean(changed) - share) < 0.08

    def test_no_word_that_asks_for_something_is_foreign(self) -> None:
        texts = ["Explain why a Film would follow", "recommend zirkon, opal and Zirkon", "2 of x"]
        assert foreign_words(texts, ["film"]) == ["Zirkon", "opal", "zirkon"]

    @pytest.mark.parametrize(
        ("task", "has"),
        [*((task, False) for task in ("search", "describe", "kind")), *((task, True) for task in WITH_HISTORY)],
    )
    def test_what_is_asked_with_a_history_has_them(self, shop: Dataset, tmp_path: Path, task: str, has: bool) -> None:
        alone = dict.fromkeys(("search", "describe", "kind", *WITH_HISTORY), 0.0) | {task: 1.0}
        recipes = [
            checked_recipe({"data": tmp_path, "out": tmp_path, "samples": alone | {"asides": share}}, "test")
            for share in (0.0, 0.9)
        ]
        plain, other = (instruct_mixture(shop, one, one.stage("instruct"), tmp_path / "labels") for one in recipes)
        assert plain.counts == other.counts
        changed = np.mean([plain.sample(number) != other.sample(number) for number in range(len(plain))])
        assert changed > 0.8 if has else changed == 0


class TestMixture:
    def test_an_epoch_has_each_task_in_its_share(self) -> None:
        mixture = Mixture({"a": Part(Numbers(100, "a"), 1.0), "b": Part(Numbers(100, "b"), 0.25)})
        assert len(mixture) == 125
        first = answers(mixture, range(125))
        assert Counter(answer[0] for answer in first) == {"a": 100, "b": 25}
        assert len(set(first)) == 125
        assert first != sorted(first)

    def test_what_a_share_leaves_out_comes_in_the_next_epochs(self) -> None:
        mixture = Mixture({"b": Part(Numbers(100, "b"), 0.25)})
        assert len(set(answers(mixture, range(100)))) == 100

    def test_a_number_names_one_sample_whoever_asks(self) -> None:
        first, second = (Mixture({"a": Part(Numbers(50, "a"), 1.5)}, seed=3) for _ in range(2))
        assert answers(first, range(200)) == answers(second, range(200))
        assert answers(second, [170, 3]) == [answers(first, range(200))[place] for place in (170, 3)]

    def test_nothing_to_learn_is_an_error(self) -> None:
        with pytest.raises(DataError, match="no samples"):
            Mixture({"a": Part(Numbers(10), 0.0), "b": Part(Numbers(0), 1.0)})


def test_a_stage_takes_all_its_tasks_from_a_data_folder(shop: Dataset, tmp_path: Path) -> None:
    recipe = checked_recipe({"data": tmp_path, "out": tmp_path}, "test")
    instructed = instruct_mixture(shop, recipe, recipe.stage("instruct"), tmp_path / "labels.jsonl")
    tasks = {name.partition(",")[0] for name in instructed.counts}
    assert tasks == {"search", "item to text", "item to type", "next item", "explain", "profile"}
    aligned = align_mixture(shop, StageRecipe())
    assert {name.partition(",")[0] for name in aligned.counts} == {"item to text", "text to item", "item to type"}
