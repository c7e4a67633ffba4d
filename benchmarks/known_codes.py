"""Codes found beforehand, so that a load can be timed without its quantization."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.bulk_parts import QUANTIZED
from neo_runtime.sid.codebook import Codebook, Floats, load_codebooks

KEPT, READ = ("begins", "rows", "codes", "errors"), 100_000


@dataclass(frozen=True, eq=False)
class Known(Codebook):
    """Looks up what `quantize` left in `folder`: blocks of rows by the first two numbers of their first row."""

    folder: Path

    def encode(self, embeddings: Floats) -> tuple[NDArray[np.uint16], Floats]:
        begins, rows, codes, errors = self._found
        first = int(rows[begins.searchsorted(begins_of(embeddings[:1])[0])])
        return codes[first : first + len(embeddings)], errors[first : first + len(embeddings)]

    @cached_property
    def _found(self) -> tuple[NDArray[Any], ...]:
        return tuple(np.load(self.folder / f"known.{name}.npy", mmap_mode="r") for name in KEPT)


def begins_of(embeddings: Floats) -> NDArray[np.uint64]:
    return np.ascontiguousarray(embeddings[:, :2]).view(np.uint64)[:, 0]


def quantize(folder: Path) -> float:
    """CPU seconds of quantizing all rows, in blocks as a load has them; keeps what was found."""
    (codebook,), rows = load_codebooks(folder / "codebooks").values(), np.load(folder / "items.npy", mmap_mode="r")
    codes, errors, seconds = list[NDArray[np.uint16]](), list[Floats](), 0.0
    for start in range(0, len(rows), QUANTIZED):
        block = np.array(rows[start : start + QUANTIZED])
        began = time.process_time()
        found = codebook.encode(block)
        seconds += time.process_time() - began
        codes.append(found[0])
        errors.append(found[1])
    begins = np.concatenate([begins_of(rows[start : start + READ]) for start in range(0, len(rows), READ)])
    order = np.argsort(begins)
    for name, array in zip(KEPT, (begins[order], order, np.concatenate(codes), np.concatenate(errors)), strict=True):
        np.save(folder / f"known.{name}.npy", array)
    return seconds
