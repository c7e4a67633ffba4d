"""In int8 a row's result is its own: whoever shares the pass, and however long it is, no bit changes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.model.quantize import Int8Linear

SIDES = st.sampled_from([8, 16, 24, 64, 200])


def layer(width: int, out: int, bias: bool, seed: int) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(width, out, bias=bias)


@settings(max_examples=150, deadline=None)
@given(
    width=SIDES, out=SIDES, bias=st.booleans(), before=st.integers(0, 40), behind=st.integers(0, 40),
    loudness=st.sampled_from([0.0, 1e-6, 1.0, 1e6]), dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1_000),
)  # fmt: skip
def test_a_row_alone_equals_the_row_among_others(
    width: int, out: int, bias: bool, before: int, behind: int, loudness: float, dtype: torch.dtype, seed: int
) -> None:
    quantized = Int8Linear(layer(width, out, bias, seed))
    row = torch.randn(1, width).to(dtype)
    others = [(torch.randn(count, width) * loudness).to(dtype) for count in (before, behind)]
    alone = quantized(row)
    together = quantized(torch.cat([others[0], row, others[1]])[None])
    assert torch.equal(together[0, before : before + 1], alone)


@settings(max_examples=60, deadline=None)
@given(width=SIDES, out=SIDES, rows=st.integers(1, 40), bias=st.booleans(), seed=st.integers(0, 1_000))
def test_the_result_is_the_exact_product_of_the_rounded_numbers(
    width: int, out: int, rows: int, bias: bool, seed: int
) -> None:
    exact = layer(width, out, bias, seed)
    inputs = torch.randn(rows, width)
    inputs[0] = 0
    found = Int8Linear(exact)(inputs).detach().numpy()

    def rounded(matrix: torch.Tensor) -> np.ndarray:
        numbers = matrix.detach().numpy()
        scale = np.maximum(np.abs(numbers).max(1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        return np.round(numbers / scale).astype(np.float64) * scale

    expected = rounded(inputs) @ rounded(exact.weight).T
    if bias:
        expected = expected + exact.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
