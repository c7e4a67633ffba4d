"""The stages, in reading order: semantic IDs, a start, alignment, instruction tuning. Each ends in a folder.

A folder is complete once the file that is written last lies in it, so a run that was stopped goes on at the stage, and
inside the stage at the checkpoint, where it was. `out` is the model that is served; `out/stages` what led to it.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.split import keep_out
from neo_runtime.embed.load import EMBEDDER_FOLDER
from neo_runtime.engine.span import Normalization
from neo_runtime.errors import StartupError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.learned import joined
from neo_runtime.sid.space import Keys
from neo_runtime.training.batches import Batches
from neo_runtime.training.card import StageReport, write_card
from neo_runtime.training.examples import ExampleWriter
from neo_runtime.training.families import align_mixture, instruct_mixture
from neo_runtime.training.fitted_on import FITTED_ON_FILE, FittedOn
from neo_runtime.training.grounded import GroundedLM, Trained, refuse_leaks, with_lora
from neo_runtime.training.losses import TokenGroups
from neo_runtime.training.processes import Processes
from neo_runtime.training.progress import METRICS_FILE, Told, counted
from neo_runtime.training.recipe import RECIPE_FILE, StageRecipe, TrainRecipe, read_trained
from neo_runtime.training.samples.mixture import Mixture
from neo_runtime.training.sids import EMBEDDINGS_FILE, assigned_sids, fit_sids, items_by_key
from neo_runtime.training.start import start_model
from neo_runtime.training.trainer import Optimization, fit
from neo_runtime.types import ItemKey

LABELS_FILE = "labels.jsonl"
_COMPLETE = "neo.json"  # NeoModel.save writes it last

Stage = Literal["align", "instruct"]


class Training:
    """One recipe, on one or many processes."""

    def __init__(self, recipe: TrainRecipe, dataset: Dataset, console: Console) -> None:
        """StartupError where `out` holds what another recipe made."""
        self.recipe, self.dataset = recipe, keep_out(dataset, recipe.samples.new_items)
        self.processes = Processes()
        self.console = console if self.processes.is_first else Console(quiet=True)
        self._stages = recipe.out / "stages"
        self.processes.once(self._claim)

    def run(self, sids: Path | None = None) -> None:
        """Everything: what `neo train all` does. `sids`: stage 1's folder, where it was made before."""
        start = self.start(sids or self.sids())
        aligned = self.align(start, self._stages / "aligned")
        self.instruct(aligned, self.recipe.out)

    def sids(self) -> Path:
        """Stage 1."""
        folder = self._stages / "sids"

        def make() -> None:
            for report in fit_sids(
                self.dataset,
                self.recipe.sids,
                folder,
                order=self.recipe.samples.order,
                fit=self.recipe.samples.fit,
                told=counted("embedding", self.console),
            ):
                self.console.print(
                    f"semantic IDs of {report.items:,} items of type {report.item_type}: {report.colliding_items:,} "
                    f"shared before the collision rule, error² {report.mean_squared_error:.4f}"
                )

        self._once_for(folder / EMBEDDINGS_FILE, make)
        return folder

    def start(self, sids: Path) -> Path:
        """The decoder with its new tokens, before any training."""
        folder = self._stages / "start"

        self._check(sids)

        def make() -> None:
            model = start_model(self.recipe.name, self.recipe.base, sids, self.dataset)
            self.console.print(f"{sum(weight.numel() for weight in model.lm.parameters()):,} parameters")
            _with_sids(sids, folder)
            model.save(folder)

        self._once_for(folder / _COMPLETE, make)
        return folder

    def align(self, source: Path, out: Path) -> Path:
        """Stage 2; `source` itself where the recipe leaves it out."""
        stage = self.recipe.stage("align")
        return self._stage("align", stage, source, out) if _is_wanted(stage) else source

    def instruct(self, source: Path, out: Path) -> Path:
        """Stage 3."""
        return self._stage("instruct", self.recipe.stage("instruct"), source, out)

    def _stage(self, name: Stage, stage: StageRecipe, source: Path, out: Path) -> Path:
        if (out / _COMPLETE).exists():
            self.console.print(f"{name}: done before, in {out}")
            return out
        self._check(source)
        started = time.monotonic()
        model = replace(NeoModel.load(source), name=self.recipe.name)
        keys = list(items_by_key(self.dataset))
        live = self.recipe.catalog
        assigned = assigned_sids(self.recipe.data, source, keys, self.dataset.new_lines, live=live)
        if assigned.refused:
            advice = f"are not in {live}; publish them" if live else "got no semantic ID; give their types more codes"
            raise StartupError(f"{assigned.refused:,} items {advice}")
        mixture = self._mixture(name, stage)
        model = replace(model, learned=joined(model.learned, _by_type(assigned.sids)))
        if stage.row_tokens:
            refuse_leaks(model.lm)
        merge = with_lora(model, stage.lora_rank, stage.lora_alpha, 0.0) if stage.trained == "lora" else None
        groups = TokenGroups(
            model.vocabulary, Normalization(stage.normalization), model.learned, text_weight=stage.text_weight
        )  # fmt: skip
        module = GroundedLM(model, groups, Trained(stage.trained or "all"), dropout_share=stage.dropout or 0.0)
        writer = ExampleWriter(model, assigned.sids, learn_history=bool(stage.learn_history))
        batches = Batches(
            mixture, writer.write, batch_tokens=stage.batch_tokens or 1, seed=stage.seed,
            never_learned=groups.never_learned, row_tokens=stage.row_tokens,
        )  # fmt: skip
        steps = self._steps(stage, mixture, batches)
        self._say(name, mixture, batches, steps, module)
        work = self._stages / name
        told = Told(name, self.recipe.out / METRICS_FILE, self.console)
        fit(module, batches, self._optimization(stage, steps), work, [told], use_cpu=self.processes.use_cpu)
        module.finish()
        if merge:
            merge()
        report = StageReport(name, steps, told.seconds, told.tokens, mixture.counts, time.monotonic() - started)
        self.processes.once(lambda: self._save(model, source, out, work, report))
        return out

    def _check(self, sids: Path) -> None:
        if fitted_on := FittedOn.read(sids):
            fitted_on.check(sids, self.recipe.samples, self.dataset)

    def _save(self, model: NeoModel, source: Path, out: Path, work: Path, report: StageReport) -> None:
        """The model last: with it the folder is complete."""
        _with_sids(source, out)
        report.save(self.recipe.out)
        write_card(out, self.recipe, model)
        model.lm.to("cpu")
        model.save(out)
        for folder in work.glob("checkpoint-*"):
            shutil.rmtree(folder)
        self.console.print(f"{report.stage}: {report.steps:,} steps in {report.seconds:,.0f} s, in {out}")

    def _mixture(self, name: Stage, stage: StageRecipe) -> Mixture:
        if name == "align":
            return align_mixture(self.dataset, stage)
        labels = self.recipe.out / LABELS_FILE

        def make() -> Mixture:
            return instruct_mixture(
                self.dataset, self.recipe, stage, labels,
                lambda what, done, total: self.console.print(f"{what}: {done:,} of {total:,}"),
            )  # fmt: skip

        # The first process asks the teacher; the others find what it said in the file.
        made: list[Mixture] = []
        self.processes.once(lambda: made.append(make()))
        return made[0] if made else make()

    def _steps(self, stage: StageRecipe, mixture: Mixture, batches: Batches) -> int:
        per_step = batches.samples_per_batch * stage.accumulation * self.processes.count
        steps = stage.steps or max(1, math.ceil((stage.epochs or 0) * len(mixture) / per_step))
        batches.count = steps * stage.accumulation * self.processes.count
        return steps

    def _say(self, name: Stage, mixture: Mixture, batches: Batches, steps: int, module: GroundedLM) -> None:
        self.console.print(f"{name}: an epoch is {len(mixture):,} samples of {batches.mean_tokens:.0f} tokens:")
        for family, count in mixture.counts.items():
            self.console.print(f"  {family}: {count:,}")
        trained = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
        self.console.print(f"{name}: {trained:,} weights are trained, in {steps:,} steps")

    def _optimization(self, stage: StageRecipe, steps: int) -> Optimization:
        has_bf16 = not self.processes.use_cpu and torch.cuda.is_bf16_supported()
        return Optimization(
            steps, stage.rate or 0.0, stage.final_rate_share, stage.warmup_steps or 0, stage.weight_decay, stage.betas,
            stage.clip_norm, stage.accumulation, has_bf16 if stage.bf16 is None else stage.bf16, stage.seed,
            checkpoint_steps=stage.checkpoint_steps, log_steps=stage.log_steps, loader_workers=stage.loader_workers,
        )  # fmt: skip

    def _claim(self) -> None:
        written = self.recipe.model_dump_json(indent=2, exclude={"out"})
        file = self.recipe.out / RECIPE_FILE
        # Read and not compared as text: a run that began before a field was there goes on with the field's default.
        if file.exists() and read_trained(self.recipe.out) != self.recipe:
            raise StartupError(f"{self.recipe.out} holds what another recipe made; name another folder, or remove it")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(written)

    def _once_for(self, last_file: Path, make: object) -> None:
        assert callable(make)
        self.processes.once(lambda: None if last_file.exists() else make())


def _by_type(sids: Mapping[ItemKey, int]) -> dict[str, Keys]:
    """Packed tuples, each once, ascending."""
    found = dict[str, list[int]]()
    for key, sid in sids.items():
        found.setdefault(key.type, []).append(sid)
    return {name: np.unique(np.array(packed, np.uint64)) for name, packed in found.items()}


def _is_wanted(stage: StageRecipe) -> bool:
    return bool(stage.steps or stage.epochs)


def _with_sids(source: Path, out: Path) -> None:
    """What belongs to the codebooks beside them: the embedder for new items, the vectors of the known ones, and what
    was looked at.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source == out:
        return
    if (source / EMBEDDER_FOLDER).is_dir():
        shutil.copytree(source / EMBEDDER_FOLDER, out / EMBEDDER_FOLDER, dirs_exist_ok=True)
    for name in (EMBEDDINGS_FILE, FITTED_ON_FILE):
        if (source / name).exists():
            shutil.copy2(source / name, out / name)
