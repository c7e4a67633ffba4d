"""What a run tells while it goes on: a line or a bar on the screen, and one line of JSON in a file for each look."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from neo_runtime.training.journal import add_to_journal, read_journal
from neo_runtime.training.trainer import StageTrainer

METRICS_FILE = "metrics.jsonl"
_PRINTED_EVERY_S = 30.0  # where there is no terminal to draw a bar on


def counted(what: str, console: Console) -> Callable[[int, int], None]:
    """To be called with what is done and what there is to do: a bar, or a line now and then where no terminal is."""
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    task, printed = bar.add_task(what, total=None), time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal printed
        bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()
        if not console.is_terminal and time.monotonic() - printed > _PRINTED_EVERY_S:
            printed = time.monotonic()
            console.print(f"{what}: {done:,} of {total:,}")

    return told


class Told(TrainerCallback):  # type: ignore[misc]
    """Lines go to `file`; those of steps that a resumed run repeats are dropped. Only the first process tells."""

    trainer: StageTrainer | None = None

    def __init__(self, stage: str, file: Path, console: Console) -> None:
        self._stage, self._file, self._console = stage, file, console
        self._bar = Progress(
            TextColumn(stage), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(stage, total=None, said="")
        self._at, self._printed, self._started = time.monotonic(), 0.0, time.monotonic()
        self.tokens, self.seconds = 0, 0.0
        """Of all processes since this run began or went on."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:  # fmt: skip
        if not state.is_world_process_zero:
            return
        self._at = self._started = time.monotonic()
        self._forget_after(state.global_step)
        if state.global_step:
            self._console.print(f"{self._stage}: going on after step {state.global_step:,}")
        self._bar.start()
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:  # fmt: skip
        if state.is_world_process_zero:
            self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        if not state.is_world_process_zero or logs is None or "loss" not in logs:
            return
        assert self.trainer is not None
        now, tokens = time.monotonic(), self.trainer.tokens_seen * args.world_size
        rate = (tokens - self.tokens) / max(now - self._at, 1e-9)
        self._at, self.tokens, self.seconds = now, tokens, now - self._started
        line = {
            "stage": self._stage, "step": state.global_step, "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"), "gradient_norm": logs.get("grad_norm"),
            "tokens_per_s": round(rate, 1),
        }  # fmt: skip
        add_to_journal(self._file, [line])
        said = f"loss {logs['loss']:.3f}, {rate:,.0f} tokens/s"
        self._bar.update(self._task, said=said)
        if not self._console.is_terminal and now - self._printed > _PRINTED_EVERY_S:
            self._printed = now
            self._console.print(f"{self._stage}: step {state.global_step:,} of {state.max_steps:,}, {said}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:  # fmt: skip
        self._bar.stop()

    def _forget_after(self, step: int) -> None:
        lines = read_journal(self._file)
        kept = [line for line in lines if line["stage"] != self._stage or line["step"] <= step]
        if len(kept) < len(lines):
            self._file.unlink()
            add_to_journal(self._file, kept)
