"""The type of the weights where the operator leaves it open: bfloat16 where it is clearly faster on this machine.

Measured on matrices of the model's own shapes, since nothing else tells: without instructions for it, bfloat16 is
slower than float32 on a CPU, with them three times as fast.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import structlog
import torch
from torch.nn.functional import linear

_log = structlog.get_logger(__name__)
_BEAMS = 30
_ROWS = (1, _BEAMS, 256)  # of a pass: a stream's next token, the beams of a ranked list, a part of a prompt
_GAIN = 1.2  # float32 is exact, so it wins ties
_SMALL_S = 0.005  # a step of beams that takes no longer in float32 is mostly something else than these products
_WEIGHTS = 2**25  # that are measured: 128 MiB in float32, more than caches hold
_BUDGET_S, _ROUNDS = 1.0, 5

Shapes = Sequence[tuple[int, int]]
"""[out, in] of the matrices that a pass multiplies with, in the order in which it does."""


def fastest(shapes: Shapes, device: str) -> torch.dtype:
    """bfloat16 or float32, and a log line that says why. Takes about a second on a CPU; uses torch's threads."""
    kind = torch.device(device).type
    if kind == "cpu":
        return _measured(shapes)
    is_fast = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return _chosen(torch.bfloat16 if is_fast else torch.float32, why=f"the device is {device}")


def _measured(shapes: Shapes) -> torch.dtype:
    sample = _sample(shapes)
    exact, half = _seconds(sample)
    gain = math.prod(a / b for a, b in zip(exact, half, strict=True)) ** (1 / len(_ROWS))
    step_s = exact[_ROWS.index(_BEAMS)] * _size(shapes) / max(_size(sample), 1)
    figures = {"rows": _ROWS, "float32_ms": _ms(exact), "bfloat16_ms": _ms(half), "gain": round(gain, 2)}
    if step_s < _SMALL_S:
        return _chosen(torch.float32, why="the model is so small that it does not matter", **figures)
    if gain < _GAIN:
        return _chosen(torch.float32, why=f"bfloat16 is not {_GAIN} times as fast", **figures)
    return _chosen(torch.bfloat16, why=f"it is over {_GAIN} times as fast as float32", **figures)


def _chosen(dtype: torch.dtype, **about: object) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    _log.info("type of the weights chosen", dtype=name, **about, override="NEO_DTYPE, or dtype in neo.toml")
    return dtype


def _sample(shapes: Shapes) -> Shapes:
    """The first ones, up to `_WEIGHTS` numbers."""
    taken, total = list[tuple[int, int]](), 0
    for shape in shapes:
        if total >= _WEIGHTS:
            break
        taken.append(shape)
        total += math.prod(shape)
    return taken


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes)


@torch.inference_mode()
def _seconds(shapes: Shapes) -> tuple[list[float], list[float]]:
    """Once through all matrices in float32 and in bfloat16, best of some rounds, for each of `_ROWS`.

    The types take turns, so that what else the machine does hits both.
    """
    types = (torch.float32, torch.bfloat16)
    weights = {dtype: [torch.ones(shape, dtype=dtype) for shape in shapes] for dtype in types}
    best = {dtype: [math.inf] * len(_ROWS) for dtype in types}
    ends = time.perf_counter() + _BUDGET_S
    for done in range(_ROUNDS):
        if done >= 2 and time.perf_counter() > ends:  # the first round also warms up
            break
        for place, rows in enumerate(_ROWS):
            for dtype in types:
                inputs = {width: torch.ones(rows, width, dtype=dtype) for _, width in shapes}
                start = time.perf_counter()
                for weight in weights[dtype]:
                    linear(inputs[weight.shape[1]], weight)
                best[dtype][place] = min(best[dtype][place], time.perf_counter() - start)
    return best[torch.float32], best[torch.bfloat16]


def _ms(seconds: Sequence[float]) -> list[float]:
    return [round(value * 1e3, 2) for value in seconds]
