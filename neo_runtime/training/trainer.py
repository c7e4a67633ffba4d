"""One stage's training: transformers' Trainer, with batches of equal tokens, our loss, and small checkpoints.

The Trainer brings what a loop of one's own would have to learn again: several devices, accumulation, mixed precision,
schedules, checkpoints with every state that randomness depends on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from neo_runtime.errors import ModelError
from neo_runtime.training.batches import Batch, Batches
from neo_runtime.training.grounded import GroundedLM

_WEIGHTS = "trained.safetensors"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class Optimization:
    """NEO's settings (paper, hyper-parameters) but for the rate, which each stage names."""

    steps: int
    peak_rate: float
    final_rate_share: float = 0.0
    warmup_steps: int = 400
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    accumulation: int = 1
    bf16: bool = False
    seed: int = 0
    checkpoint_steps: int = 500
    kept_checkpoints: int = 2
    log_steps: int = 20
    loader_workers: int = 0


class StageTrainer(Trainer):  # type: ignore[misc]
    """Counts the tokens that went through this process, and saves nothing but what is trained."""

    def __init__(self, model: GroundedLM, batches: Batches, args: TrainingArguments) -> None:
        super().__init__(model=model, args=args, train_dataset=batches, data_collator=_only)
        self.tokens_seen = 0

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor | Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:  # fmt: skip
        self.tokens_seen += inputs["input_ids"].numel()
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        """In order: the batches are shuffled already, and only so does a number name the same batch everywhere."""
        return SequentialSampler(self.train_dataset)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: weight.detach().contiguous() for name, weight in self._trained()}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        try:
            saved = load_file(Path(resume_from_checkpoint) / _WEIGHTS)
            with torch.no_grad():
                for name, weight in self._trained():
                    weight.copy_(saved[name])
        except (OSError, KeyError, RuntimeError) as error:
            raise ModelError(f"checkpoint {resume_from_checkpoint} is not of this run ({error}); remove it") from error

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]


def fit(
    model: GroundedLM, batches: Batches, optimization: Optimization, folder: Path,
    callbacks: Sequence[TrainerCallback] = (), *, use_cpu: bool = False,
) -> None:  # fmt: skip
    """Train in place. Where `folder` holds checkpoints of an interrupted run, go on from the last one."""
    transformers_logging.set_verbosity_error()
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / TENSORBOARD)
    trainer = StageTrainer(model, batches, _arguments(optimization, folder, use_cpu=use_cpu))
    for kind in ("PrinterCallback", "ProgressCallback"):
        for callback in [one for one in trainer.callback_handler.callbacks if type(one).__name__ == kind]:
            trainer.remove_callback(callback)
    for callback in callbacks:
        if hasattr(callback, "trainer"):
            callback.trainer = trainer
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)


def _arguments(optimization: Optimization, folder: Path, *, use_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=optimization.steps,
        learning_rate=optimization.peak_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": optimization.final_rate_share},
        warmup_steps=min(optimization.warmup_steps, optimization.steps // 2),
        weight_decay=optimization.weight_decay,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        max_grad_norm=optimization.clip_norm,
        optim="adamw_torch_fused",
        per_device_train_batch_size=1,  # what the loader gives is a whole batch
        gradient_accumulation_steps=optimization.accumulation,
        bf16=optimization.bf16,
        seed=optimization.seed,
        data_seed=optimization.seed,
        save_strategy="steps",
        save_steps=optimization.checkpoint_steps,
        save_total_limit=optimization.kept_checkpoints,
        logging_strategy="steps",
        logging_steps=optimization.log_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is no number is to be seen
        report_to=[TENSORBOARD] if find_spec(TENSORBOARD) else "none",  # comes with the `train` extra
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=optimization.loader_workers,
        dataloader_pin_memory=not use_cpu,
        ddp_find_unused_parameters=False,
        use_cpu=use_cpu,
    )


def _only(batches: list[Batch]) -> Batch:
    (batch,) = batches
    return batch
