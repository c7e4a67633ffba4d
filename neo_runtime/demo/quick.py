"""A small model for any catalog, in about two minutes: for `neo demo --data`, to try the runtime on one's own items.

Where there are no histories (`users.jsonl`: {"items": ["type/id", …]}, oldest first), items that resemble each other
stand in for them. A taste of what the runtime does with the catalog, not a recommender to judge it by.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.fit import fit_catalog
from neo_runtime.catalog.item import Upsert
from neo_runtime.config import Settings
from neo_runtime.embed.base import Vectors
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.load import EMBEDDER_FOLDER
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import load_files, read_lines, read_upserts
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.prompt.message import Part, Task, TaskPrompt
from neo_runtime.prompt.tasks import WORDINGS
from neo_runtime.training.examples import ExampleWriter, Sample, task_sample
from neo_runtime.training.loop import Recipe, train
from neo_runtime.types import ItemKey

STEPS, BATCH_TOKENS = 500, 2_048
LEVELS, MOST_CODES, FEWEST_CODES = 3, 64, 2
SHAPE = DecoderShape(width=96, layers=2, heads=4, key_value_heads=2, feed_forward=256, context_tokens=512)
NEIGHBOURS, LONGEST_HISTORY = 12, 8
MAX_DESCRIPTION = 200
HISTORIES = ("users.jsonl", "users.jsonl.gz")
_WORD = re.compile(r"\w{3,}")

History = Sequence[ItemKey]


def quick_model(data: Path, files: Sequence[Path], out: Path, progress: Callable[[int, int, float], None]) -> None:
    """Fit SIDs and a model on `files` and write it to `out`.

    StartupError where there are too few items of a type.
    """
    items = read_upserts(files)
    fewest = min((sum(i.key.type == name for i in items) for name in {item.key.type for item in items}), default=0)
    codes = min(MOST_CODES, fewest // 2)
    if codes < FEWEST_CODES:
        raise StartupError(f"{data}: a type has only {fewest} items; a model needs {2 * FEWEST_CODES} at least")
    fit_catalog(items, (codes,) * LEVELS, "lexical", out)
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(open_or_create(Settings(catalog=Path(scratch) / "catalog", model=out))) as catalog,
    ):
        load_files(catalog, [str(path) for path in files])
        tokenizer = fresh_tokenizer(
            [*map(event_text, items), *(w for wordings in WORDINGS.values() for w in wordings)], 4_096
        )
        lm = fresh_decoder(SHAPE, len(tokenizer), end_token=tokenizer.eos_token_id)
        model = NeoModel.extend("quick", lm, tokenizer, catalog.codebooks)
        writer = ExampleWriter(model, catalog.reader.pin([item.key for item in items]).sids, learn_history=True)
    vectors = LexicalEmbedder.load(out / EMBEDDER_FOLDER).embed([event_text(item) for item in items])
    samples = QuickSamples(items, vectors, read_histories(data, items))
    train(model.lm, map(writer.write, samples), Recipe(STEPS, batch_tokens=BATCH_TOKENS), progress)
    model.save(out)


def read_histories(data: Path, items: Sequence[Upsert]) -> list[History]:
    """Histories in `data`, items that the catalog does not have left out; none where there is no such file."""
    known = {item.key for item in items}
    path = next((data / name for name in HISTORIES if (data / name).exists()), None)
    if path is None:
        return []
    histories = []
    for number, line in read_lines(str(path)):
        try:
            keys = [ItemKey.parse(key) for key in json.loads(line)["items"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StartupError(f'{path}, line {number}: not {{"items": ["type/id", …]}} ({error})') from error
        histories.append([key for key in keys if key in known])
    return [history for history in histories if len(history) > 1]


class QuickSamples:
    """Recommend, search and describe, from items alone or with histories; an endless stream."""

    def __init__(self, items: Sequence[Upsert], vectors: Vectors, histories: Sequence[History]) -> None:
        self._items, self._vectors, self._histories = items, vectors, histories
        self._titles = {item.key: item.title for item in items}
        self._random = np.random.default_rng(0)

    def __iter__(self) -> Iterator[Sample]:
        makers = (self._recommend, self._retrieve, self._retrieve, self._describe, self._explain)
        while True:
            yield makers[self._random.integers(len(makers))]()

    def _recommend(self) -> Sample:
        *history, target = self._history()
        return self._said(Task.RECOMMEND, target.type, (), history, (target,))

    def _explain(self) -> Sample:
        *history, target = self._history()
        title = self._titles[target]
        return self._said(Task.EXPLAIN, target.type, (), history, ("Try ", target, f": {title}."))

    def _retrieve(self) -> Sample:
        item = self._some()
        words = _WORD.findall(event_text(item).lower()) or [item.title]
        count = int(self._random.integers(1, 4))
        query = " ".join(words[place] for place in self._random.integers(len(words), size=count))
        return self._said(Task.RETRIEVE, item.key.type, (query,), (), (item.key,))

    def _describe(self) -> Sample:
        item = self._some()
        told = f"{item.title}. {item.description[:MAX_DESCRIPTION]}".strip()
        return self._said(Task.UNDERSTAND, "", (item.key,), (), (told,))

    def _history(self) -> list[ItemKey]:
        """Two items or more, the last one to be guessed."""
        if self._histories:
            history = self._histories[int(self._random.integers(len(self._histories)))]
            end = int(self._random.integers(2, len(history) + 1))
            return list(history[max(0, end - LONGEST_HISTORY) : end])
        row = int(self._random.integers(len(self._items)))
        likeness = self._vectors @ self._vectors[row]
        near = np.argsort(-likeness)[:NEIGHBOURS]
        count = int(self._random.integers(2, min(6, len(near)) + 1))
        return [self._items[place].key for place in self._random.choice(near, count, replace=False)]

    def _some(self) -> Upsert:
        return self._items[int(self._random.integers(len(self._items)))]

    def _said(
        self, task: Task, item_type: str, subject: tuple[Part, ...], history: History, answer: tuple[Part, ...]
    ) -> Sample:
        return task_sample(self._random, TaskPrompt(task, item_type, subject), history, answer)
