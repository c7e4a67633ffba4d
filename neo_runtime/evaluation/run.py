"""Every model on every type and order, fitted and ranked once; what is finished is not run again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.slices import slices
from neo_runtime.data.split import NEW_SEED, NEW_SHARE, Cases, Fit, Order, Part, Split, hold_out_items, leave_one_out
from neo_runtime.embed.base import Vectors
from neo_runtime.evaluation.metrics import means, single_hits
from neo_runtime.evaluation.models import MODELS, Material, Model, model
from neo_runtime.evaluation.ranker import Ranker
from neo_runtime.evaluation.results import Key, Results, Run

NEXT_ITEM, NEW_ITEMS, KNOWN_ITEMS = "next item", "new items", "known items"
"""The last two are of one split, with items held out: whose target is one of them, and whose is not."""
MOST_KNOWN = 5_000
"""Users of known items that are asked beside those of new ones, who are few: enough to see what new items cost them."""

Progress = Callable[[int, int, str], None]
"""Told how many runs are done, of how many, and what is at work."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `next_items` over all items, `new_items` with some held out. `again`: even what is finished."""

    types: Sequence[str]
    models: Sequence[str]
    orders: Sequence[Order] = (Order.RAW, Order.SHUFFLED)
    fits: Sequence[Fit] = (Fit.T,)
    seeds: int = 1
    next_items: bool = True
    new_items: bool = False
    again: bool = False
    known: Mapping[str, Model] = field(default_factory=lambda: MODELS)


@dataclass(frozen=True, slots=True)
class _Job:
    """One ranker, made once and fitted on one part after the other: its constants are chosen once.

    The key's task is NEXT_ITEM or NEW_ITEMS; of the latter's split, known items are asked for too.
    """

    key: Key
    fits: Sequence[Fit]


def fingerprint(dataset: Dataset) -> str:
    """Of all that decides a result."""
    digest = hashlib.blake2b(digest_size=8)
    for name, sequences in sorted(dataset.sequences.items()):
        digest.update(f"{name}\n{len(dataset.items[name])}\n".encode())
        for text in dataset.texts(name):
            digest.update(text.encode() + b"\n")
        digest.update(sequences.items.values.tobytes() + sequences.items.offsets.tobytes())
        digest.update(b"" if sequences.days is None else sequences.days.tobytes())
    for query in dataset.queries:
        digest.update(repr((query.steps, query.items)).encode())
    return digest.hexdigest()


def orders_of(dataset: Dataset, item_type: str, orders: Sequence[Order]) -> Sequence[Order]:
    """Raw alone where neither days nor times are known: no ties either."""
    return orders if dataset.sequences[item_type].clock is not None else [Order.RAW]


def evaluate(
    dataset: Dataset,
    plan: Plan,
    results: Results,
    vectors: Callable[[str], Vectors],
    progress: Progress = lambda *_: None,
) -> None:
    """Fill `results`. `vectors` gives the embeddings of a type's items to who asks for them."""
    jobs = list(_jobs(dataset, plan, results))
    total, done = sum(len(job.fits) for job in jobs), 0
    for job in jobs:
        ranker: Ranker | None = None
        chosen = model(job.key.model, plan.known)
        texts = dataset.texts(job.key.item_type)
        for fit in job.fits:
            key = job.key._replace(fit=fit.value)
            say = partial(_say, progress, done, total, key)
            say("")
            split = _split(dataset, key)
            if ranker is None:
                ranker = chosen.make(Material(key.item_type, texts, partial(vectors, key.item_type), key.seed, say))
            _run(ranker, split, key, results, is_fused=chosen.is_fused)
            done += 1
    progress(total, total, "")


def _say(progress: Progress, done: int, total: int, key: Key, words: str) -> None:
    progress(done, total, f"{key.words} {words}".strip())


def _jobs(dataset: Dataset, plan: Plan, results: Results) -> Iterator[_Job]:
    tasks = [task for task, wanted in ((NEXT_ITEM, plan.next_items), (NEW_ITEMS, plan.new_items)) if wanted]
    for item_type in plan.types:
        for task in tasks:
            for order in orders_of(dataset, item_type, plan.orders):
                for name in plan.models:
                    if task == NEXT_ITEM and model(name, plan.known).favours_new:
                        continue  # nothing is new there
                    seeds = plan.seeds if model(name, plan.known).is_seeded and task == NEXT_ITEM else 1
                    for seed in range(seeds):
                        key = Key(task, item_type, name, order.value, "", seed)
                        fits = [f for f in plan.fits if plan.again or not _is_done(results, key._replace(fit=f.value))]
                        if fits:
                            yield _Job(key, fits)


def _is_done(results: Results, key: Key) -> bool:
    """All that the job's one fit is asked."""
    tasks = (NEXT_ITEM,) if key.task == NEXT_ITEM else (NEW_ITEMS, KNOWN_ITEMS)
    return all(results.has(key._replace(task=task)) for task in tasks)


def _split(dataset: Dataset, key: Key) -> Split:
    items = dataset.items[key.item_type]
    split = leave_one_out(dataset.sequences[key.item_type], len(items), Order(key.order))
    return hold_out_items(split, NEW_SHARE) if key.task == NEW_ITEMS else split


def _run(ranker: Ranker, split: Split, key: Key, results: Results, *, is_fused: bool) -> None:
    """Nothing where nobody is asked: in a split with new items, where nobody's target is one of them."""
    asked = _asked(split, key.task)
    if not all(len(cases.targets) for cases in asked.values()):
        return
    started = time.perf_counter()
    ranker.fit(split, Fit(key.fit))
    fit_s = time.perf_counter() - started
    for task, cases in asked.items():
        _rank(ranker, split, cases, key._replace(task=task), results, fit_s, is_fused=is_fused)


def _asked(split: Split, task: str) -> dict[str, Cases]:
    """By task, what a ranker that was fitted on the split is asked."""
    cases = split.cases(Part.TEST)
    if task == NEXT_ITEM:
        return {task: cases}
    is_new = split.new_items[cases.targets]
    known = np.random.default_rng(NEW_SEED).permutation(np.flatnonzero(~is_new))[:MOST_KNOWN]
    return {NEW_ITEMS: cases.take(np.flatnonzero(is_new)), KNOWN_ITEMS: cases.take(np.sort(known))}


def _rank(
    ranker: Ranker, split: Split, cases: Cases, key: Key, results: Results, fit_s: float, *, is_fused: bool
) -> None:
    fitted = time.perf_counter()
    hits = single_hits(ranker.rank(cases.asked).items, cases.targets)
    ended = time.perf_counter()
    groups = {
        name: {"questions": float(mask.sum()), **means(hits.take(mask))} for name, mask in slices(split, cases).items()
    }
    constants = getattr(ranker, "constants", None)
    results.add(
        Run(
            key, len(cases.targets), is_fused, means(hits), groups, fit_s, ended - fitted,
            "" if constants is None else str(constants),
        ),
        hits,
    )  # fmt: skip
