"""transformers' continuous batching beside the engine: its manager, started once, in a process of its own.

It runs on a thread of its own, and OpenMP slows down all threads of a process where a second one uses it: ours must
not suffer from it, nor it from ours. Its model is made on one thread of torch for the same reason. Pages and room for
a step changed little where others were tried.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from benchmarks.engine_models import model_of
from neo_runtime import heap
from neo_runtime.sid.codebook import Codebook

Prompts = list[list[int]]
# Explicit: what it would take is not known without psutil.
PAGE, BLOCKS, BATCH_TOKENS = 32, 192, 512
SPAWN = multiprocessing.get_context("spawn")


class Continuous:
    """Random weights as `model_of` makes them."""

    def __init__(self, kind: str, dtype: torch.dtype, codebook: Codebook) -> None:
        self._connection, theirs = SPAWN.Pipe()
        arguments = kind, dtype, codebook, torch.get_num_threads(), theirs
        self._process = SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        assert self._connection.recv() == "ready"

    def generate(self, prompts: Prompts, tokens: int) -> Prompts:
        """So many tokens for each prompt, greedily, streamed."""
        self._connection.send((prompts, tokens))
        found: Prompts = self._connection.recv()
        return found

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def _serve(kind: str, dtype: torch.dtype, codebook: Codebook, threads: int, connection: Connection) -> None:
    heap.keep()
    torch.set_num_threads(1)
    lm: Any = model_of(kind, dtype, codebook).lm
    torch.set_num_threads(threads)
    lm.set_attn_implementation("sdpa")
    with torch.inference_mode():
        manager = lm.init_continuous_batching(
            GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            ContinuousBatchingConfig(
                page_size=PAGE, num_blocks=BLOCKS, max_batch_tokens=BATCH_TOKENS, allow_block_sharing=False
            ),
        )
        manager.start()
    connection.send("ready")
    while (asked := connection.recv()) is not None:
        connection.send(_answers(manager, *asked))
    manager.stop()
    manager.destroy()


def _answers(manager: Any, prompts: Prompts, tokens: int) -> Prompts:
    numbers = manager.add_requests(prompts, max_new_tokens=tokens, streaming=True)
    found: dict[str, list[int]] = {}
    for output in manager:
        assert not output.error, output.error
        if output.is_finished():
            found[output.request_id] = output.generated_tokens
        if len(found) == len(numbers):
            break
    return [found[number] for number in numbers]
