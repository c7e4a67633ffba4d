"""The rows of `benchmarks.ablations`: what each changes of a recipe, and what NEO's paper found for the same change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from neo_runtime.evaluation.decoding import FreeBeams, Samples
from neo_runtime.evaluation.models import Say
from neo_runtime.evaluation.neo import NeoModels, NeoRanker
from neo_runtime.evaluation.ranker import Ranker
from neo_runtime.evaluation.results import Check
from neo_runtime.training.recipe import TrainRecipe

RECIPE = "recipe"
ALIGNED_SHARE = 0.2
"""Of the epochs of stage 3: what stage 2 takes before it, or what its tasks are more of in the mixture."""
_TYPES_SHARE = 0.2  # of items asked for their type, beside those described and looked for: as in stage 2

Values = dict[str, Any]
Make = Callable[[NeoModels, int, Say, Callable[[Check], None]], Ranker]
"""A ranker of the seed, told how it goes on and what share of tuples are items."""


def _served(models: NeoModels, seed: int, say: Say, _: Callable[[Check], None]) -> Ranker:
    """As the runtime serves: beams that the trie constrains, whose tuples are items all."""
    return NeoRanker(models, seed, say)


class Row(NamedTuple):
    """`changes`: fields by section of the recipe; none: the recipe's own model, asked by `ranker`.

    `sign`: whether the paper found it better (+1) or worse (-1) than the whole; 0: it does not say.
    """

    name: str
    what: str
    paper: str
    sign: int
    changes: Mapping[str, Mapping[str, Any]] = {}
    ranker: Make = _served
    fewest_types: int = 1

    @property
    def trained(self) -> str:
        """The row whose model is asked."""
        return self.name if self.changes else RECIPE


def rows_of(recipe: TrainRecipe, epochs: float) -> list[Row]:
    """For a fresh decoder, whose recipe has no stage 2."""
    samples, optimizer = recipe.samples, recipe.instruct.model_dump(exclude_unset=True, exclude={"steps"})
    alone = dict.fromkeys(("search", "describe", "kind", "explain", "profile", "context_items"), 0)
    merged = {
        "search": samples.search + ALIGNED_SHARE, "describe": samples.describe + ALIGNED_SHARE,
        "kind": samples.kind + ALIGNED_SHARE * _TYPES_SHARE,
    }  # fmt: skip
    return [
        Row(RECIPE, "(a) the recipe as it is", "–", 0),
        Row(
            "shuffled", "(b) the same IDs, given to items at random", "−59.7 %", -1,
            {"sids": {"method": "shuffled"}},
        ),
        Row("lsh", "(c) random hyperplanes instead of k-means", "−51.2 %", -1, {"sids": {"method": "lsh"}}),
        Row(
            "shared", "(d) one k-means for all types, tokens by type", "one quantizer and its tokens: much worse", -1,
            {"sids": {"method": "shared", "levels_of": {}}}, fewest_types=2,
        ),
        Row(
            "text-only", "(e) IDs from text alone", "text is the whole there; from users alone −25.6 %", 1,
            {"sids": {"collaborative": 0.0}},
        ),
        Row(
            "aligned", "(f) stage 2 before stage 3", "without it −6 %", 1,
            {"align": optimizer | {"epochs": ALIGNED_SHARE * epochs}},
        ),
        Row("merged", "(g) stage 2's tasks in stage 3's mixture", "−8 %, without stage 2 −6 %", -1,
            {"samples": merged}),
        Row("single-task", "(h) next items alone", "slightly worse", -1, {"samples": alone}),
        Row("free-beams", "(i) (a) without the trie", "−1.8 %, 98 % of tuples valid", -1, ranker=FreeBeams),
        Row("samples", "(j) (a) sampled, 30 draws", "top-p: −22 %", -1, ranker=Samples),
    ]  # fmt: skip


def changed(base: Values, row: Row, epochs: float, data: str, out: str) -> Values:
    """The values of a recipe's file for a row."""
    sections = {name: value for name, value in base.items() if isinstance(value, dict)}
    plain = {name: value for name, value in base.items() if name not in sections}
    instruct = {name: value for name, value in sections.get("instruct", {}).items() if name != "steps"}
    # Without the trie only a model that learned which codes follow which can be asked.
    sections["instruct"] = {"normalization": "level"} | instruct | {"epochs": epochs}
    for name, change in row.changes.items():
        sections[name] = sections.get(name, {}) | dict(change)
    return plain | {"data": data, "out": out} | sections


def as_toml(values: Values, comment: str) -> str:
    """A recipe's file: plain values, then a table for each section."""
    plain = [(name, value) for name, value in values.items() if not isinstance(value, dict)]
    lines = [f"# {comment}", *(f"{name} = {_toml(value)}" for name, value in plain)]
    for name, section in values.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *(f"{field} = {_toml(value)}" for field, value in section.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)  # numbers, texts, truths and lists are written alike in both
