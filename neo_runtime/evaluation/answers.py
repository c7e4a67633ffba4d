"""What a model's answers are like: whether they are of the asked type and format, real, fitting, and true to the
history. All are generated without constraints but the grammar of spans: task, type and format stand in the words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from neo_runtime.catalog.item import Upsert
from neo_runtime.data.dataset import Dataset
from neo_runtime.engine.api import Decoding, GenerateWork, Span, TextChunk
from neo_runtime.evaluation import paraphrases
from neo_runtime.evaluation.results import Check
from neo_runtime.evaluation.served import Answer, ServedModel
from neo_runtime.prompt.message import Conversation, Part, Task, TaskPrompt, Turn
from neo_runtime.prompt.tasks import say, with_article, wordings
from neo_runtime.training.sids import Served, items_by_key
from neo_runtime.training.teacher import facts
from neo_runtime.types import ItemKey

USERS, SEED, LONGEST_HISTORY = 300, 7, 8


class Said(NamedTuple):
    """An answer's items and text, and the asked question's history."""

    history: Sequence[ItemKey]
    spans: Sequence[Span]
    text: str

    @property
    def keys(self) -> list[ItemKey]:
        return [ItemKey(span.ranked[0].item_type, span.ranked[0].item_ids[0]) for span in self.spans]


def check_answers(served: ServedModel, dataset: Dataset, say_: Callable[[str], None] = lambda _: None) -> list[Check]:
    """For each type with histories: shares of the answers, for the same users each time."""
    items = items_by_key(dataset)
    found = list[Check]()
    for name in sorted(dataset.sequences):
        say_(f"answers about {name}")
        histories = list(_histories(dataset, name))
        found += _Checks(served, items, name, histories).all()
    return found


def _histories(dataset: Dataset, item_type: str) -> Iterator[tuple[ItemKey, ...]]:
    """Of users with two items at least, without their last one."""
    sequences, items = dataset.sequences[item_type], dataset.items[item_type]
    rows = np.flatnonzero(sequences.items.lengths > 2)
    for row in np.random.default_rng(SEED).permutation(rows)[:USERS].tolist():
        yield tuple(items[place].key for place in sequences.items[row].tolist()[:-1][-LONGEST_HISTORY:])


class _Checks:
    def __init__(
        self,
        served: ServedModel,
        items: dict[ItemKey, Upsert],
        item_type: str,
        histories: Sequence[tuple[ItemKey, ...]],
    ) -> None:
        self._served, self._items, self._type, self._numbered = served, items, item_type, list(enumerate(histories))
        known = sorted({fact for item in items.values() for fact in facts(item)}, key=len, reverse=True)
        self._facts = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known)) or '(?!)'})(?!\w)")

    def all(self) -> Iterator[Check]:
        yield from self._recommendations()
        yield from self._explanations()
        yield from self._profiles()

    def _recommendations(self) -> Iterator[Check]:
        trained = [self._said(TaskPrompt(Task.RECOMMEND, self._type), history, n) for n, history in self._numbered]
        new = [self._paraphrased(history, number) for number, history in self._numbered]
        for words, prompts in (("trained words", trained), ("new words", new)):
            said = self._asked(prompts)
            yield self._share(f"type obeyed, {words}", [_only(one.keys, self._type) for one in said])
            yield self._share(f"items alone where a list is asked for, {words}", [_is_list(one) for one in said])
            yield self._share(f"spans that are real items, {words}", list(_are_real(said, self._served.catalog)))

    def _explanations(self) -> Iterator[Check]:
        prompt = TaskPrompt(Task.EXPLAIN, self._type)
        said = self._asked([self._said(prompt, history, number) for number, history in self._numbered])
        yield self._share("explained: an item and words", [_is_explained(one) for one in said])
        yield self._share("explained: of the asked type", [_only(one.keys, self._type) for one in said])
        found = [one for one in said if one.keys]
        yield self._share("explained: not in the history", [not {*one.keys} & {*one.history} for one in found])
        yield self._share("explained: facts that the item or the history has", list(self._true_facts(said)))
        yield self._share("explained: a reason that the history has", [self._has_reason(one) for one in found])
        new = self._asked(
            [self._paraphrased(history, number, paraphrases.REASONS) for number, history in self._numbered]
        )
        yield self._share("explained: an item and words, new words", [_is_explained(one) for one in new])

    def _profiles(self) -> Iterator[Check]:
        said = self._asked([
            self._said(TaskPrompt(Task.UNDERSTAND, "", history), history, number)
            for number, history in self._numbered
        ])  # fmt: skip
        yield self._share("profile: words alone", [bool(one.text.strip() and not one.keys) for one in said])
        scores = [_f1(self._facts.findall(one.text), self._of_history(one.history)) for one in said]
        yield self._share("profile: F1 of its facts, against those of two items or more", scores)
        new = self._asked([self._profiled(history, number) for number, history in self._numbered])
        yield self._share("profile: words alone, new words", [bool(one.text.strip() and not one.keys) for one in new])

    def _said(
        self, prompt: TaskPrompt, history: tuple[ItemKey, ...], number: int
    ) -> tuple[Conversation, tuple[ItemKey, ...]]:
        """In one of the wordings that training draws from, all over them where they are more than the users."""
        return say(prompt, history, number * len(wordings(prompt)) // len(self._numbered)), history

    def _paraphrased(
        self, history: tuple[ItemKey, ...], number: int, reasons: Sequence[str] = ("",)
    ) -> tuple[Conversation, tuple[ItemKey, ...]]:  # fmt: skip
        """`reasons`: one of them is asked for too."""
        asked = paraphrases.REQUESTS[number % len(paraphrases.REQUESTS)].replace("{type}", with_article(self._type))
        return _around(history, f"{asked} {reasons[number % len(reasons)]}".rstrip())

    def _profiled(
        self, history: tuple[ItemKey, ...], number: int
    ) -> tuple[Conversation, tuple[ItemKey, ...]]:  # fmt: skip
        return _around(history, paraphrases.PROFILES[number % len(paraphrases.PROFILES)])

    def _asked(self, prompts: Sequence[tuple[Conversation, tuple[ItemKey, ...]]]) -> list[Said]:
        decoding = Decoding(max_output_tokens=96, max_items=4)
        works = [GenerateWork(prompt, decoding=decoding) for prompt, _ in prompts]
        answers = self._served.answers(works)
        return [_read(answer, history) for answer, (_, history) in zip(answers, prompts, strict=True)]

    def _true_facts(self, said: Sequence[Said]) -> Iterator[float]:
        """Of each answer that states any."""
        for one in said:
            stated = self._facts.findall(one.text)
            owners = [self._items[key] for key in (*one.keys, *one.history)]
            if stated:
                true = {fact for item in owners for fact in facts(item)}
                yield float(np.mean([fact in true for fact in stated]))

    def _has_reason(self, said: Said) -> bool:
        known = {fact for key in said.history for fact in facts(self._items[key])}
        return not known.isdisjoint(self._facts.findall(said.text))

    def _of_history(self, history: Sequence[ItemKey]) -> set[str]:
        counts = Counter(fact for key in history for fact in facts(self._items[key]))
        return {fact for fact, count in counts.items() if count > 1} or set(counts)

    def _share(self, name: str, values: Sequence[float | bool]) -> Check:
        return Check(self._type, name, len(values), float(np.mean(values)) if len(values) else 0.0)


def _around(history: tuple[ItemKey, ...], words: str) -> tuple[Conversation, tuple[ItemKey, ...]]:
    before, after = words.split("{history}")
    parts: tuple[Part, ...] = (before, *history, after)
    return Conversation((Turn("user", tuple(part for part in parts if part)),)), history


def _read(answer: Answer, history: Sequence[ItemKey]) -> Said:
    events = answer if isinstance(answer, list) else []
    spans = [event for event in events if isinstance(event, Span)]
    return Said(history, spans, "".join(event.text for event in events if isinstance(event, TextChunk)))


def _is_list(said: Said) -> bool:
    return bool(said.keys) and not said.text.strip()


def _is_explained(said: Said) -> bool:
    return bool(said.keys and said.text.strip())


def _only(keys: Sequence[ItemKey], item_type: str) -> bool:
    return bool(keys) and all(key.type == item_type for key in keys)


def _are_real(said: Sequence[Said], catalog: Served) -> Iterator[bool]:
    """Whether each span's codes are those of the item that it names."""
    sids = catalog.reader.pin([key for one in said for key in one.keys]).sids
    for one in said:
        for key, span in zip(one.keys, one.spans, strict=True):
            space = catalog.codebooks[key.type].space
            yield key in sids and tuple(space.unpack_one(sids[key])) == tuple(span.ranked[0].codes)


def _f1(stated: Collection[str], true: Collection[str]) -> float:
    both = len({*stated} & {*true})
    return 2 * both / (len({*stated}) + len({*true})) if both else 0.0
