"""youtube/static-constraint-decoding, from a checkout given by path: its index and its two beam searches on a CPU.

Its own functions do all of the work; a prepared model hands out the logits that ours gets too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.synthetic import BEAMS, Logits

Codes = NDArray[np.int32]
Run = Callable[[], NDArray[np.integer]]
"""Codes of the SIDs of one whole search: [requests, beams, levels]."""


class Static:
    """Its index of `codes` int32 [items, levels], rows ascending."""

    def __init__(self, checkout: Path, codes: Codes, level_size: int) -> None:
        self._checkout, self._level_size, self._levels = checkout, level_size, codes.shape[1]
        self.index = build(checkout)(codes, vocab_size=level_size, dense_lookup_layers=2)
        self.branches = tuple(int(branch) for branch in self.index[2])
        self._arrays = [self.index[i] for i in (0, 1, 3, 4, 5)]
        self._tensors = [torch.from_numpy(array) for array in self._arrays]
        self._jax_arrays: list[Any] | None = None

    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays)

    def torch(self, logits: Logits) -> Run:
        search = _module(self._checkout, "decoding_pt").sparse_transition_torch
        tensors = [torch.from_numpy(values)[:, None] for values in logits]

        def run() -> NDArray[np.integer]:
            left = iter(tensors)
            return search(  # type: ignore[no-any-return]
                lambda _: next(left), len(tensors[0]), BEAMS, BEAMS, 0, self._levels, self._level_size, self.branches,
                *self._tensors, torch.device("cpu"), 2,
            ).numpy()  # fmt: skip

        return run

    def jax(self, logits: Logits) -> Run:
        """Compiled here, before it is timed."""
        import jax

        search = _module(self._checkout, "decoding_jax").sparse_transition_jax
        if self._jax_arrays is None:
            self._jax_arrays = [jax.numpy.asarray(array) for array in self._arrays]
        values = tuple(jax.numpy.asarray(level) for level in logits)

        def run() -> NDArray[np.integer]:
            found = search(
                _next_logits, values, len(logits[0]), BEAMS, BEAMS, 0, self._levels, self._level_size, self.branches,
                *self._jax_arrays,
            )  # fmt: skip
            return jax.block_until_ready(found)  # type: ignore[no-any-return]

        run()
        return run


def _next_logits(_: Any, left: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """A model for the JAX search, whose random key is ours to choose: what is left to hand out."""
    return left[0][:, None], left[1:]


def build(checkout: Path) -> Callable[..., Any]:
    return _module(checkout, "csr_utils").build_static_index  # type: ignore[no-any-return]


def ascending(codes: Codes) -> Codes:
    """As its benchmarks sort."""
    return codes[np.lexsort([codes[:, level] for level in range(codes.shape[1] - 1, -1, -1)])]


def _module(checkout: Path, name: str) -> Any:
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    return importlib.import_module(f"static_decoding.{name}")
