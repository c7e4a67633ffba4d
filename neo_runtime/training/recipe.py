"""The whole recipe of a model as one file: what `neo train all` reads, with every field explained.

Where a default differs between a pre-trained decoder and a fresh small one, the field is none until `resolved`.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from neo_runtime.data.split import Fit, Order
from neo_runtime.errors import StartupError
from neo_runtime.sid.space import SidSpace

RECIPE_FILE = "recipe.json"
"""In a trained model's folder: what it was trained by, but for where it lies."""
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SidsRecipe(_Section):
    """Stage 1: semantic IDs."""

    embedder: str = Field("lexical", description="minilm, lexical (fitted on the items), lexical:FOLDER or st:NAME.")
    levels: list[int] = Field([256, 256, 256], description="Codes per level, for types that `levels_of` leaves out.")
    levels_of: dict[str, list[int]] = Field({}, description="Codes per level of single types: {office = [256, 64]}.")
    collaborative: float = Field(
        0.0, ge=0, description="Weight of the users' half of an item's vector beside the text's 1; 0: text alone (NEO)."
    )
    collaborative_dimension: Size = Field(64, description="Length of the users' half.")
    collaborative_window: Size = Field(20, description="How many places apart two items of a history still meet.")
    method: Literal["kmeans", "shared", "lsh", "shuffled"] = Field(
        "kmeans",
        description="kmeans: residual k-means per type (NEO); the others are for comparison. shared: one k-means over "
        "all types, tokens stay the type's own; lsh: random hyperplanes; shuffled: tuples exchanged among items.",
    )
    seed: int = Field(0, description="Of the k-means and the SVD, and of what `method` draws.")

    @field_validator("levels", "levels_of")
    @classmethod
    def _fit_a_space(cls, value: list[int] | dict[str, list[int]]) -> list[int] | dict[str, list[int]]:
        for sizes in value.values() if isinstance(value, dict) else [value]:
            SidSpace(tuple(sizes))
        return value

    @model_validator(mode="after")
    def _shares_sizes(self) -> SidsRecipe:
        if self.method == "shared" and self.levels_of:
            raise ValueError("levels_of: types that share one codebook have the same levels")
        return self

    def sizes(self, item_type: str) -> list[int]:
        """Codes per level of a type."""
        return self.levels_of.get(item_type, self.levels)


class BaseRecipe(_Section):
    """Which decoder is grounded: a pre-trained one, or a new small one in the shape of Qwen3."""

    name: str = Field("", description="Hub id or folder of a Hugging Face decoder; empty: a fresh one of this shape.")
    width: Size = Field(128, description="Fresh: of the hidden states.")
    layers: Size = Field(3, description="Fresh: number of blocks.")
    heads: Size = Field(4, description="Fresh: attention heads.")
    key_value_heads: Size = Field(2, description="Fresh: heads of keys and values.")
    feed_forward: Size = Field(384, description="Fresh: width inside the feed-forward layers.")
    context_tokens: Size = Field(512, description="Fresh: longest sequence.")
    text_tokens: Size = Field(4_096, description="Fresh: size of the tokenizer that is fitted on the items' texts.")
    code_rows: Literal["centroids", "random"] = Field(
        "centroids",
        description="Where rows of codes start; from centroids, fresh: rows of words by their items' codes.",
    )
    seed: int = Field(0, description="Of fresh weights and rows.")

    @property
    def is_fresh(self) -> bool:
        return not self.name


class SamplesRecipe(_Section):
    """What is learned from: how histories are cut, and how much of an epoch each task is.

    A share counts passes through what a task is made from: users' histories, or items. 0.5 is every other one in turn.
    """

    order: Order = Field(Order.SHUFFLED, description="Of a user's items of one day: raw or shuffled.")
    fit: Fit = Field(Fit.T, description="T: the training part; TV: validation too, once everything is chosen.")
    history_items: Size = Field(20, description="Of a history, at most.")
    context_items: int = Field(8, ge=0, description="Of each other type that the user knows, at most.")
    context_share: float = Field(0.5, ge=0, le=1, description="Of the histories that say what the user did elsewhere.")
    dropped_items: Share = Field(0.2, description="Share of a history's items left out, anew in each epoch.")
    asides: Share = Field(
        0.0, description="Share of what is asked with a history that has small talk and foreign words beside it."
    )
    next_item: float = Field(1.0, ge=0, description="Recommendation, per window of a history.")
    strangers: Share = Field(0.0, description="Share of recommendations that are for users of whom nothing is known.")
    search: float = Field(
        0.5,
        ge=0,
        description="Search, per item: queries of all kinds of neo_runtime/data/queries.py; per query of the folder.",
    )
    by_facts: float = Field(0.0, ge=0, description="Search by attribute values in running words, per item.")
    lists: float = Field(0.0, ge=0, description="Several items that share an attribute value, per value.")
    explain: float = Field(0.3, ge=0, description="Recommend and say why, per labelled history.")
    profile: float = Field(0.2, ge=0, description="A user in words, per labelled history.")
    describe: float = Field(0.3, ge=0, description="An item in words, per item.")
    kind: float = Field(0.1, ge=0, description="An item's type, per item.")
    new_items: Share = Field(
        0.0, description="Share of each type's items that all training does without; neo evaluate --new-items: 0.05."
    )
    labelled: int = Field(
        5_000, ge=0, description="Histories of each type that the teacher labels, for each of two tasks."
    )


class TeacherRecipe(_Section):
    """Who writes explanations and profiles."""

    by: Literal["templates", "local", "endpoint"] = Field(
        "templates",
        description="templates: from attributes, no model; local: a Hugging Face model; endpoint: OpenAI's API.",
    )
    model: str = Field("", description="local: folder or hub id; endpoint: the model's name there.")
    url: str = Field("", description="endpoint: address up to /v1.")
    key_variable: str = Field(
        "NEO_TEACHER_KEY", description="endpoint: environment variable with the key, if it wants one."
    )


class StageRecipe(_Section):
    """One stage of training. The paper's settings are the defaults for pre-trained decoders."""

    trained: Literal["rows", "all", "lora"] | None = Field(
        None, description="rows: of markers and codes alone; all; lora. None: rows to align, all to instruct."
    )
    epochs: float | None = Field(None, ge=0, description="Passes through the stage's samples; 0 leaves the stage out.")
    steps: int | None = Field(None, ge=0, description="Instead of epochs.")
    batch_tokens: Size | None = Field(None, description="Of a batch on one device. None: 8,192; fresh: 6,144.")
    row_tokens: int = Field(
        0, ge=0, description="Length of rows that samples share, none seeing another; 0: a row each, faster on CPUs."
    )
    accumulation: Size = Field(1, description="Batches that one step is made of, on each device.")
    rate: float | None = Field(
        None, gt=0, description="At its peak. None: 1e-3 to align, 1e-4 to instruct; fresh: 3e-3."
    )
    final_rate_share: float = Field(0.02, ge=0, le=1, description="Of the peak, where the cosine ends.")
    warmup_steps: int | None = Field(None, ge=0, description="None: 300 to align, 400 to instruct; fresh: 200.")
    weight_decay: float = Field(0.01, ge=0, description="Of matrices; norms are not decayed.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="Of AdamW.")
    clip_norm: float = Field(1.0, gt=0, description="Of the gradient, at most.")
    dropout: Share | None = Field(None, description="Of embeddings and of what blocks add. None: 0; fresh: 0.1.")
    normalization: Literal["learned", "level", "vocabulary"] = Field(
        "learned",
        description="A code among those of items after the same prefix, as serving scores by default; its level's; "
        "or among all tokens (NEO).",
    )
    text_weight: float = Field(1.0, gt=0, description="Of a text token's loss beside a code's; not for vocabulary.")
    learn_history: bool | None = Field(
        None, description="Codes in histories are targets too. None: no, the loss is on the answer (NEO); fresh: yes."
    )
    lora_rank: Size = Field(16, description="Of the low-rank matrices.")
    lora_alpha: Size = Field(32, description="Their scale, times the rank.")
    bf16: bool | None = Field(None, description="Mixed precision. None: on GPUs that have it; not on CPUs.")
    checkpoint_steps: Size = Field(500, description="Between two checkpoints, from which a stopped run goes on.")
    log_steps: Size = Field(20, description="Between two lines of metrics.")
    loader_workers: int = Field(0, ge=0, description="Processes that make batches ahead.")
    seed: int = Field(0, description="Of samples, their order and dropout.")

    def resolved(self, *, fresh: bool, aligns: bool) -> StageRecipe:
        """With the defaults for the kind of model and stage filled in."""
        paper = {"rate": 1e-3, "warmup_steps": 300, "epochs": 1.0} if aligns else {
            "rate": 1e-4, "warmup_steps": 400, "epochs": 1.0
        }  # fmt: skip
        defaults: dict[str, object] = {
            "trained": "rows" if aligns else "all", "batch_tokens": 8_192, "dropout": 0.0, "learn_history": False,
            **paper,
        }  # fmt: skip
        if fresh:
            defaults |= {
                "trained": "all", "batch_tokens": 6_144, "dropout": 0.1, "learn_history": True, "rate": 3e-3,
                "warmup_steps": 200, "epochs": 0.0 if aligns else 12.0,
            }  # fmt: skip
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})


class TrainRecipe(_Section):
    """A whole training."""

    name: str = Field("neo", description="Of the model; requests may name it.")
    data: Path = Field(description="Data folder: items*.jsonl, interactions*.jsonl (docs/data.md).")
    out: Path = Field(description="Folder that the model goes to.")
    catalog: Path | None = Field(
        None, description="Live catalog whose semantic IDs are learned; none: as `neo catalog load` gives them to data."
    )
    sids: SidsRecipe = SidsRecipe()
    base: BaseRecipe = BaseRecipe()
    samples: SamplesRecipe = SamplesRecipe()
    teacher: TeacherRecipe = TeacherRecipe()
    align: StageRecipe = StageRecipe()
    instruct: StageRecipe = StageRecipe()

    @field_validator("catalog")
    @classmethod
    def _from_anywhere(cls, value: Path | None) -> Path | None:
        """Evaluation opens it later, from wherever it is run."""
        return value and value.resolve()

    @model_validator(mode="after")
    def _can_hold_out(self) -> TrainRecipe:
        if self.catalog and self.samples.new_items:
            raise ValueError("samples.new_items: a live catalog has them already; leave one of the two out")
        return self

    def stage(self, name: Literal["align", "instruct"]) -> StageRecipe:
        """With its defaults filled in."""
        chosen: StageRecipe = getattr(self, name)
        return chosen.resolved(fresh=self.base.is_fresh, aligns=name == "align")


def read_recipe(file: Path) -> TrainRecipe:
    """From a TOML file; relative paths are relative to it. StartupError names the field that is wrong."""
    found = read_fields(file)
    for field in ("data", "out", "catalog"):
        if isinstance(found.get(field), str):
            found[field] = file.parent / found[field]
    return checked_recipe(found, str(file))


def read_fields(file: Path) -> dict[str, Any]:
    """Of a TOML file, as they are. StartupError where it is none."""
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise StartupError(f"{file} is no TOML file: {error}") from error


def read_trained(folder: Path) -> TrainRecipe:
    """Of a folder that `neo train` has begun. StartupError where it is none."""
    try:
        told = json.loads((folder / RECIPE_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise StartupError(f"{folder} is no folder of `neo train` ({error})") from error
    return checked_recipe({**told, "out": folder}, str(folder / RECIPE_FILE))


def checked_recipe(values: dict[str, object], where: str) -> TrainRecipe:
    """StartupError names the first field that is wrong, and how."""
    try:
        return TrainRecipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
        raise StartupError(": ".join(part for part in (where, field, what) if part)) from error
