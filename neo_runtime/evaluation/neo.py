"""NEO models among the rankers and searchers: asked in words, through the engine, with constrained beams.

A model is trained by `neo train` beforehand, for one order of ties, one part and one seed; its folder says which. Here
it is only asked, so `fit` finds the folder that fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.line import Query
from neo_runtime.data.ragged import Indices, Mask
from neo_runtime.data.split import NEW_SHARE, Asked, Fit, Part, Split, keep_out, new_among, other_types
from neo_runtime.embed.base import Vectors
from neo_runtime.engine.api import Constraints, RankedList, RankWork
from neo_runtime.errors import DataError, StartupError
from neo_runtime.evaluation.answers import check_answers
from neo_runtime.evaluation.content import ContentKnn
from neo_runtime.evaluation.metrics import DEEPEST
from neo_runtime.evaluation.models import unfavoured
from neo_runtime.evaluation.ranker import NONE, Ranked
from neo_runtime.evaluation.results import Key, Results
from neo_runtime.evaluation.run import NEXT_ITEM, orders_of
from neo_runtime.evaluation.run_search import SEARCH
from neo_runtime.evaluation.served import Answer, ServedModel
from neo_runtime.evaluation.strangers import LISTED, check_strangers
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.training.recipe import TrainRecipe, read_trained
from neo_runtime.training.samples.histories import splits_of
from neo_runtime.types import ItemKey

BEAMS = 30
"""As in the paper."""
NEO = "neo"
"""What trained models are called among rankers and searchers."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model's folder, and what `neo train` was told."""

    folder: Path
    recipe: TrainRecipe

    @property
    def seed(self) -> int:
        return self.recipe.instruct.seed

    @property
    def words(self) -> str:
        """What distinguishes it from others in a report."""
        samples = self.recipe.samples
        without = ", new items held out" if samples.new_items else ""
        return f"{NEO}, {samples.order}, {samples.fit}, seed {self.seed}{without}"

    def digest(self) -> str:
        """Of all that decides its answers."""
        digest = hashlib.blake2b(digest_size=8)
        for path in sorted(self.folder.rglob("*")):
            if path.suffix in (".safetensors", ".json") and "stages" not in path.relative_to(self.folder).parts:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """StartupError where `neo train` has not finished there."""
        try:
            return cls(folder, read_trained(folder))
        except StartupError as error:
            raise StartupError(f"{folder} is no folder that `neo train` has finished ({error})") from error


class NeoModels:
    """Trained models over one data folder. One is held at a time."""

    def __init__(self, folders: Sequence[Path], data: Path, dataset: Dataset) -> None:
        self.trained = [Trained.read(folder) for folder in folders]
        self.dataset = dataset
        self._data = data
        self._served: ServedModel | None = None
        self._rows = {name: {item.key: row for row, item in enumerate(items)} for name, items in dataset.items.items()}
        self.known_lists: dict[tuple[Path, str, float, bytes], Ranked] = {}
        """Of rankers, by folder, item type, bonus and what was asked."""

    def found(self, split: Split, fit: Fit, seed: int) -> Trained:
        """DataError where no model was trained for that. Where a type has no days, both orders are one.

        The split's new items must be those that training did without: who has seen them, or too little, is no match.
        """
        for one in self.trained:
            is_order = split.sequences.clock is None or one.recipe.samples.order is split.order
            seen = ~new_among(split.item_count, one.recipe.samples.new_items)
            is_match = is_order and one.recipe.samples.fit is fit and one.seed == seed
            if is_match and np.array_equal(seen, ~split.new_items):
                return one
        share, without = (NEW_SHARE, "without the new items") if split.new_items.any() else (0, "with all items")
        raise DataError(
            f"no model was trained on the {split.order} order, fitted on {fit}, with seed {seed}, {without}; train one "
            f"with these settings in its recipe (samples.order, samples.fit, instruct.seed, samples.new_items = "
            f"{share:g}), or leave them out here"
        )

    def searched(self) -> Trained:
        """The first that knows all items. DataError where none does: what is searched for is not held out."""
        if found := self._all_knowing():
            return found
        raise DataError("search needs a model that was trained with all items (samples.new_items = 0)")

    def _all_knowing(self) -> Trained | None:
        return next((one for one in self.trained if not one.recipe.samples.new_items), None)

    @contextmanager
    def served(self, trained: Trained) -> Iterator[ServedModel]:
        """Stays open for who asks for the same one next."""
        if self._served is None or self._served.folder != trained.folder:
            self.close()
            new_lines = keep_out(self.dataset, trained.recipe.samples.new_items).new_lines
            self._served = ServedModel(trained.folder, self._data, new_lines, live=trained.recipe.catalog)
        yield self._served

    def lists(self, answers: Sequence[Answer], item_type: str, k: int) -> Ranked:
        """Items of the answers in order; all of a tuple that several share."""
        items, scores = np.full((len(answers), k), NONE, np.int32), np.full((len(answers), k), -np.inf, np.float32)
        rows = self._rows[item_type]
        for place, answer in enumerate(answers):
            if not isinstance(answer, list):
                continue  # nothing is left to rank
            (ranked,) = answer
            assert isinstance(ranked, RankedList)
            found = [(rows[ItemKey(item_type, item)], row.logprob) for row in ranked.ranked for item in row.item_ids]
            for column, (item, score) in enumerate(found[:k]):
                items[place, column], scores[place, column] = item, score
        return Ranked(items, scores)

    def without_history(self, served: ServedModel, item_type: str) -> Indices:
        """The list of users of whom nothing is known."""
        prompt, constraints = TaskPrompt(Task.RECOMMEND, item_type), Constraints((item_type,))
        answers = served.answers([RankWork(prompt, constraints=constraints, max_results=LISTED)])
        items: Indices = self.lists(answers, item_type, LISTED).items[0]
        return items

    def code_vectors(self, trained: Trained, item_type: str) -> Vectors:
        """What the semantic IDs of all items of the type say of their embeddings, [items, dim]."""
        keys = [item.key for item in self.dataset.items[item_type]]
        with self.served(trained) as served:
            codebook, sids = served.catalog.codebooks[item_type], served.catalog.reader.pin(keys).sids
        return codebook.decode(codebook.space.unpack(np.array([sids[key] for key in keys], np.uint64)))

    def claim(self, results: Results) -> int:
        """Drop what the results hold of models that have been trained again since; how many runs these are."""
        dropped, searched = 0, self._all_knowing()
        for one in self.trained:
            digest = one.digest()
            dropped += results.claim(one.words, digest, partial(self._is_of, one))
            if one is searched:
                dropped += results.claim(SEARCH, digest, _is_search)
        return dropped

    def _is_of(self, one: Trained, key: Key) -> bool:
        """Whether the run is of the model's lists, fused or not. A search says nothing of who is searched with."""
        if key.task == SEARCH or NEO not in map(unfavoured, key.model.split("+")):
            return False
        samples, (order,) = one.recipe.samples, orders_of(self.dataset, key.item_type, [one.recipe.samples.order])
        same = (key.order, key.fit, key.seed) == (order, samples.fit, one.seed)
        return same and (key.task != NEXT_ITEM) == bool(samples.new_items)

    def check(self, results: Results, *, again: bool, say: Callable[[str], None] = lambda _: None) -> None:
        """Of the answers of each model, once."""
        for one in self.trained:
            if again or one.words not in results.checks:
                with self.served(one) as served:
                    checks = check_answers(served, self.dataset, say)
                    order, listed = one.recipe.samples.order, partial(self.without_history, served)
                    checks += check_strangers(self.dataset, order, listed)
                    results.add_checks(one.words, checks)

    def close(self) -> None:
        if self._served is not None:
            self._served.close()
            self._served = None


class NeoRanker:
    """Next items for a history, in the words that serving uses."""

    def __init__(
        self, models: NeoModels, seed: int, say: Callable[[str], None] = lambda _: None, *, bonus: float = 0.0
    ) -> None:
        """`bonus`: of items that the model was not trained on."""
        self._models, self._seed, self._say, self._bonus = models, seed, say, bonus

    def fit(self, split: Split, fit: Fit) -> None:
        self._trained = self._models.found(split, fit, self._seed)
        self._split, samples = split, self._trained.recipe.samples
        self._window, self._context_window = samples.history_items, samples.context_items
        splits = splits_of(self._models.dataset, split.order) | {split.item_type: split}
        self._others = other_types(splits, split.item_type, Part.VALIDATION)
        self._nearest: ContentKnn | None = None

    def rank(self, asked: Asked, k: int = DEEPEST) -> Ranked:
        """Beams are as many as the paper's; lists longer than that are short. Nobody is asked twice: each fusion wants
        the same lists.
        """
        known = self._models.known_lists
        digest = hashlib.blake2b(asked.rows.tobytes() + asked.histories.values.tobytes()).digest()
        question = (self._trained.folder, self._split.item_type, self._bonus, digest)
        if question not in known:
            known[question] = self._ranked(asked)
        return known[question].of_length(k)

    def rank_among(self, asked: Asked, items: Mask, k: int = DEEPEST) -> Ranked:
        """Of the `items` alone, those whose semantic IDs lie nearest to the history's.

        What a code says of an item is known before anybody has had to do with the item. The model's own scores tell
        new items less well apart.
        """
        if self._nearest is None:
            self._nearest = ContentKnn(self._models.code_vectors(self._trained, self._split.item_type))
            self._nearest.fit(self._split, self._trained.recipe.samples.fit)
        return self._nearest.rank_among(asked, items, k)

    def _ranked(self, asked: Asked) -> Ranked:
        works = [self._work(*one) for one in zip(asked.rows.tolist(), asked.histories, strict=True)]
        with self._models.served(self._trained) as served:
            answers = served.answers(works, lambda done, total: self._say(f"{done:,} of {total:,} users"))
        return self._models.lists(answers, self._split.item_type, BEAMS)

    def _work(self, row: int, history: np.ndarray) -> RankWork:
        name, items = self._split.item_type, self._models.dataset.items
        keys = [items[name][place].key for place in history.tolist()[-self._window :]]
        deny = frozenset(items[name][place].key for place in history.tolist()[: -self._window])
        prompt, constraints = TaskPrompt(Task.RECOMMEND, name), Constraints((name,), deny=deny)
        return RankWork(prompt, (*self._elsewhere(row), *keys), constraints, BEAMS, self._bonus)

    def _elsewhere(self, row: int) -> list[ItemKey]:
        """The user's last items of other types, as training shows them."""
        items = self._models.dataset.items
        return [items[name][place].key for name, place in self._others.last(row, self._context_window)]


class NeoSearcher:
    """Items for words. Steps of a query are said together, as a conversation's last turn would."""

    def __init__(self, models: NeoModels, trained: Trained, item_type: str) -> None:
        self._models, self._trained, self._item_type = models, trained, item_type

    def fit(self, texts: Sequence[str]) -> None:
        """It has been."""

    def search(self, queries: Sequence[Query], k: int = DEEPEST) -> Ranked:
        prompts = [TaskPrompt(Task.RETRIEVE, self._item_type, (query.text,)) for query in queries]
        works = [RankWork(prompt, constraints=Constraints((self._item_type,)), max_results=BEAMS) for prompt in prompts]
        with self._models.served(self._trained) as served:
            return self._models.lists(served.answers(works), self._item_type, k)


def _is_search(key: Key) -> bool:
    return key.task == SEARCH and NEO in key.model.split("+")
