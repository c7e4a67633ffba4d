"""Which task families a stage learns from (NEO §stages 2 and 3), made from a data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from neo_runtime.catalog.encode import event_text
from neo_runtime.data.dataset import Dataset
from neo_runtime.data.queries import evaluation_queries, given_queries
from neo_runtime.data.split import Order
from neo_runtime.errors import StartupError
from neo_runtime.training.recipe import SamplesRecipe, StageRecipe, TeacherRecipe, TrainRecipe
from neo_runtime.training.samples.asides import Asides, foreign_words
from neo_runtime.training.samples.by_fact import Lists, SearchByFacts
from neo_runtime.training.samples.histories import Histories, HistoryOptions, read_histories
from neo_runtime.training.samples.items import GivenSearch, ItemToText, ItemToType, Search, TextToItem
from neo_runtime.training.samples.labelled import Explained, Profiles
from neo_runtime.training.samples.mixture import Mixture, Part
from neo_runtime.training.samples.next_item import NextItem
from neo_runtime.training.sids import items_by_key
from neo_runtime.training.teacher import CachedTeacher, Teacher, TemplateTeacher
from neo_runtime.training.teacher_models import EndpointTeacher, LocalTeacher

LONGEST_LABELLED = 8  # items of a history that a teacher is shown
_KINDS_SHARE = 0.2  # of items that are asked for their type, beside those described and looked for

Say = Callable[[str, int, int], None]
"""Told what is being made, and how much of how much."""


def align_mixture(dataset: Dataset, stage: StageRecipe) -> Mixture:
    """SID to text, text to SID, SID to type."""
    parts = {}
    for name in dataset.items:
        items = dataset.known_items(name)
        parts[f"item to text, {name}"] = Part(ItemToText(items), 1.0)
        parts[f"text to item, {name}"] = Part(TextToItem(items), 1.0)
        parts[f"item to type, {name}"] = Part(ItemToType(items), _KINDS_SHARE)
    return Mixture(parts, seed=stage.seed)


def instruct_mixture(
    dataset: Dataset, recipe: TrainRecipe, stage: StageRecipe, labels: Path, say: Say = lambda *_: None
) -> Mixture:
    """All tasks in their shares. `labels`: the file that remembers what a teacher said."""
    shares = recipe.samples
    parts = {}
    for name in dataset.items:
        items = dataset.known_items(name)
        evaluated = {query.text for query in evaluation_queries(dataset, name)}
        parts[f"search, {name}"] = Part(Search(items, evaluated), shares.search)
        given = GivenSearch(given_queries(dataset, name).trained, {item.key for item in items})
        parts[f"given searches, {name}"] = Part(given, shares.search)
        parts[f"search by facts, {name}"] = Part(SearchByFacts(items), shares.by_facts)
        parts[f"lists, {name}"] = Part(Lists(items), shares.lists)
        parts[f"item to text, {name}"] = Part(ItemToText(items), shares.describe)
        parts[f"item to type, {name}"] = Part(ItemToType(items), shares.kind)
    return Mixture(parts | _asked_with_histories(dataset, recipe, stage, labels, say), seed=stage.seed)


def _asked_with_histories(
    dataset: Dataset, recipe: TrainRecipe, stage: StageRecipe, labels: Path, say: Say
) -> dict[str, Part]:
    shares = recipe.samples
    histories = read_histories(dataset, shares.order, shares.fit)
    options = history_options(shares)
    parts = {}
    for name, rows in histories.items():
        family = NextItem(rows, options, every_prefix=bool(stage.learn_history), strangers=shares.strangers)
        parts[f"next item, {name}"] = Part(family, shares.next_item)
    if shares.labelled and (shares.explain or shares.profile):
        parts |= _labelled(dataset, recipe, stage, histories, labels, say)
    if not shares.asides:
        return parts
    texts = (event_text(item) for name in dataset.items for item in dataset.known_items(name))
    words = foreign_words(texts, dataset.items)
    return {name: Part(Asides(part.family, words, shares.asides), part.share) for name, part in parts.items()}


def teacher_of(recipe: TeacherRecipe, dataset: Dataset, labels: Path) -> Teacher:
    """StartupError where the recipe does not say enough."""
    match recipe.by:
        case "templates":
            return TemplateTeacher(items_by_key(dataset).values())
        case "local":
            if not recipe.model:
                raise StartupError("teacher.model: name the folder or hub id of the local teacher")
            return CachedTeacher(LocalTeacher(recipe.model), labels)
        case "endpoint":
            if not recipe.model or not recipe.url:
                raise StartupError("teacher.url and teacher.model: name the endpoint and the model there")
            key = os.environ.get(recipe.key_variable, "")
            return CachedTeacher(EndpointTeacher(recipe.url, recipe.model, key=key), labels)


def _labelled(
    dataset: Dataset, recipe: TrainRecipe, stage: StageRecipe, histories: dict[str, Histories], labels: Path, say: Say
) -> dict[str, Part]:
    teacher, items, shares = teacher_of(recipe.teacher, dataset, labels), items_by_key(dataset), recipe.samples
    options = HistoryOptions(window=LONGEST_LABELLED, dropped_share=0.0, shuffles_ties=False)
    parts = {}
    for name, rows in histories.items():
        for task, kind, share in (("explain", Explained, shares.explain), ("profile", Profiles, shares.profile)):
            if share:
                family = kind(
                    rows, items, teacher, shares.labelled, options, stage.seed,
                    lambda done, total, task=task, name=name: say(f"labels: {task}, {name}", done, total),  # type: ignore[misc]
                )  # fmt: skip
                parts[f"{task}, {name}"] = Part(family, share)
    return parts


def history_options(recipe: SamplesRecipe) -> HistoryOptions:
    """In the raw order a day's items stay as the file has them: that is what such a model is asked for."""
    return HistoryOptions(
        recipe.history_items, recipe.context_items, recipe.context_share if recipe.context_items else 0.0,
        recipe.dropped_items, shuffles_ties=recipe.order is Order.SHUFFLED,
    )  # fmt: skip
