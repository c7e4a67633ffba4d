"""Training in seconds: a stream of samples over the tiny model's items, and one call that fits it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import TrainerCallback

from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.training.batches import Batch, Batches, batch_of
from neo_runtime.training.examples import Example, ExampleWriter, Sample, task_sample
from neo_runtime.training.grounded import GroundedLM, Trained
from neo_runtime.training.losses import TokenGroups
from neo_runtime.training.trainer import Optimization, fit
from neo_runtime.types import ItemKey
from tests.kit import tiny

ITEMS, TYPES = 40, ("film", "book")
KEYS = [ItemKey(name, str(number)) for name in TYPES for number in range(ITEMS)]


def _sid(key: ItemKey) -> int:
    sizes = tiny.TYPES[key.type]
    codes = np.unravel_index((7 * int(key.id) + 1) % math.prod(sizes), sizes)
    return int(SidSpace(sizes).pack(np.array([codes]))[0])


SIDS = {key: _sid(key) for key in KEYS}


class Histories:
    """Item n is followed by item n + 1, mixed with searches and descriptions."""

    def __len__(self) -> int:
        return 500

    def sample(self, number: int) -> Sample:
        random = np.random.default_rng((1, number))
        name = TYPES[number % 2]
        first, length = int(random.integers(ITEMS - 8)), int(random.integers(1, 7))
        keys = [ItemKey(name, str(first + place)) for place in range(length + 1)]
        if number % 5 == 0:
            return task_sample(random, TaskPrompt(Task.UNDERSTAND, "", (keys[0],)), (), (f"number {first}",))
        return task_sample(random, TaskPrompt(Task.RECOMMEND, name), keys[:-1], (keys[-1],))


def train(
    model: NeoModel, folder: Path, *, trained: Trained = Trained.ALL, steps: int = 12,
    normalization: Normalization = Normalization.LEARNED, callbacks: Sequence[TrainerCallback] = (),
    dropout_share: float = 0.0, accumulation: int = 1, world: int = 1, batch_tokens: int = 256,
    checkpoint_steps: int = 4,
) -> GroundedLM:  # fmt: skip
    groups = TokenGroups(model.vocabulary, normalization, learned())
    module = GroundedLM(model, groups, trained, dropout_share=dropout_share)
    batches = Batches(
        Histories(), ExampleWriter(model, SIDS, learn_history=True).write, batch_tokens=batch_tokens,
        count=steps * accumulation * world, never_learned=groups.never_learned,
    )  # fmt: skip
    optimization = Optimization(
        steps, 1e-2, warmup_steps=2, checkpoint_steps=checkpoint_steps, log_steps=1, accumulation=accumulation
    )
    fit(module, batches, optimization, folder, callbacks, use_cpu=True)
    module.finish()
    return module


def learned() -> dict[str, Keys]:
    """The tuples of all items, by type."""
    return {name: np.unique(np.array([SIDS[key] for key in KEYS if key.type == name], np.uint64)) for name in TYPES}


def padded(run: Sequence[Example], never_learned: int | None = None) -> Batch:
    """A row each."""
    return batch_of([[example] for example in run], never_learned)


def weights(model: NeoModel) -> dict[str, np.ndarray]:
    return {name: value.detach().float().numpy().copy() for name, value in model.lm.state_dict().items()}
