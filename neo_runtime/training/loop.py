"""Fit a decoder to examples: AdamW, warm-up and cosine, batches of equal tokens. One process, one device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedModel

from neo_runtime.training.batches import POOL_BATCHES, padded_arrays
from neo_runtime.training.examples import Example
from neo_runtime.training.losses import IGNORED


@dataclass(frozen=True, slots=True)
class Recipe:
    """NEO's optimiser settings (paper, hyper-parameters), with a rate for models of a million parameters."""

    steps: int
    batch_tokens: int = 4_096
    peak_rate: float = 3e-3
    final_rate: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.final_rate + (self.peak_rate - self.final_rate) * (1 + math.cos(math.pi * done)) / 2


Progress = Callable[[int, int, float], None]
"""Told the step, of how many, and the loss."""


def train(
    lm: PreTrainedModel, examples: Iterable[Example], recipe: Recipe, progress: Progress = lambda *_: None
) -> list[float]:
    """Fit `lm` in place to a stream of examples; returns the loss of every step. The model ends in eval mode."""
    torch.manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(_groups(lm, recipe.weight_decay), lr=recipe.peak_rate, betas=recipe.betas)
    losses: list[float] = []
    lm.train()
    for step, (tokens, targets) in enumerate(islice(batches(examples, recipe), recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        loss = _loss(lm, torch.from_numpy(tokens).to(lm.device), torch.from_numpy(targets).to(lm.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(lm.parameters(), recipe.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress(step + 1, recipe.steps, losses[-1])
    lm.eval()
    return losses


def batches(examples: Iterable[Example], recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `padded_arrays` gives them, cut from sorted pools."""
    random = np.random.default_rng(recipe.seed)
    source = iter(examples)
    while pool := _take(source, POOL_BATCHES * recipe.batch_tokens):
        pool.sort(key=lambda example: len(example.tokens))
        runs = list(_cut(pool, recipe.batch_tokens))
        for index in random.permutation(len(runs)):
            yield padded_arrays(runs[index])


def _groups(lm: PreTrainedModel, decay: float) -> list[dict[str, object]]:
    """Norms and biases are not decayed."""
    matrices = [p for p in lm.parameters() if p.requires_grad and p.ndim >= 2]
    rest = [p for p in lm.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def _loss(lm: PreTrainedModel, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The head runs only where a target counts: with a loss on answers alone that is a part of the positions."""
    hidden = lm.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    counted = targets != IGNORED
    logits = lm.get_output_embeddings()(hidden[counted])
    return torch.nn.functional.cross_entropy(logits.float(), targets[counted])


def _take(source: Iterator[Example], tokens: int) -> list[Example]:
    pool: list[Example] = []
    while tokens > 0 and (example := next(source, None)) is not None:
        pool.append(example)
        tokens -= len(example.tokens)
    return pool


def _cut(pool: list[Example], batch_tokens: int) -> Iterator[list[Example]]:
    """In runs of at most `batch_tokens` once padded, or of one longer example."""
    run: list[Example] = []
    for example in pool:
        if run and len(example.tokens) * (len(run) + 1) > batch_tokens:
            yield run
            run = []
        run.append(example)
    if run:
        yield run
