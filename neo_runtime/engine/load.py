"""From settings to a decoder: the weights' type, the model, int8 through its gate."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from neo_runtime.config import Settings
from neo_runtime.engine import gate
from neo_runtime.engine.api import EngineLimits
from neo_runtime.engine.request import Decoder, Pins
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.precision import fastest
from neo_runtime.model.quantize import quantize

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def loaded(settings: Settings, catalogs: Pins, *, is_again: bool = False) -> Decoder:
    """StartupError where the model cannot be served. `is_again`: it was before, and in int8 passed the gate."""
    torch.set_num_threads(settings.torch_threads or max(1, ((os.cpu_count() or 2) - 1) // settings.engines))
    model = NeoModel.load(settings.model, dtype=_dtype(settings), device=settings.device)
    if settings.dtype == "int8" and is_again:
        quantize(model.lm)  # the catalog may have changed since: what is served stays served
    elif settings.dtype == "int8":
        _quantize(settings, model, catalogs)
    limits = EngineLimits(
        max_context_tokens=model.context_tokens,
        max_beam_width=settings.max_beam_width,
        max_output_tokens=min(settings.max_output_tokens, model.context_tokens),
        max_items=settings.max_items,
    )
    return Decoder(
        model, catalogs, limits, Normalization(settings.normalization), max_running=settings.max_running,
        cache_bytes=settings.prefix_cache_mb * 1_000_000, max_bytes=_max_bytes(settings),
    )  # fmt: skip


def _max_bytes(settings: Settings) -> int:
    """For keys and values of what runs."""
    if settings.kv_cache_gb:
        return int(settings.kv_cache_gb * 1e9)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a limit
        machine = min(machine, int(_CONTAINER_LIMIT.read_text()))
    return machine // 2 // settings.engines


def _dtype(settings: Settings) -> torch.dtype:
    """Of the weights as they are loaded; what int8 leaves as it is has it too."""
    if settings.dtype in ("auto", "int8"):
        return fastest(NeoModel.shapes(settings.model), settings.device)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return dtype


def _quantize(settings: Settings, model: NeoModel, catalogs: Pins) -> None:
    recorded = gate.read_recorded(settings.gate or settings.model / gate.FILE)
    gate.quantize_through_gate(
        model, catalogs, recorded, Normalization(settings.normalization),
        min_overlap=settings.gate_min_overlap, max_hit_loss=settings.gate_max_hit_loss,
    )  # fmt: skip
