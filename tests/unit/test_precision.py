"""The type of the weights is chosen by measurement, exact where that costs little."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from neo_runtime.errors import ModelError
from neo_runtime.model import precision
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.precision import Shapes, fastest
from tests.kit import tiny

LARGE = [(4_096, 4_096)] * 64  # many times what is measured


def measured(monkeypatch: pytest.MonkeyPatch, exact: list[float], half: list[float], shapes: Shapes) -> torch.dtype:
    monkeypatch.setattr(precision, "_seconds", lambda sample: (exact, half))
    return fastest(shapes, "cpu")


def test_bfloat16_must_be_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = [0.01, 0.06, 0.4]
    for gain, dtype in ((0.5, torch.float32), (1.19, torch.float32), (1.21, torch.bfloat16), (3, torch.bfloat16)):
        assert measured(monkeypatch, exact, [value / gain for value in exact], LARGE) is dtype
    mixed = [0.02, 0.03, 0.1]  # slower for single rows, faster for others: 0.5, 2 and 4 times, 1.6 altogether
    assert measured(monkeypatch, exact, mixed, LARGE) is torch.bfloat16


def test_a_small_model_stays_exact_whatever_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, half = [1e-4, 1e-3, 4e-3], [1e-5, 1e-4, 4e-4]
    assert measured(monkeypatch, exact, half, [(64, 64)] * 8) is torch.float32
    # The same figures of the part of a large model that is measured: all of it takes 32 times as long.
    assert measured(monkeypatch, exact, half, LARGE) is torch.bfloat16


def test_the_log_says_what_was_measured_and_how_to_override(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        measured(monkeypatch, [0.01, 0.06, 0.4], [0.01, 0.02, 0.1], LARGE)
    (line,) = logs
    assert line["dtype"] == "bfloat16"
    assert (line["float32_ms"], line["bfloat16_ms"]) == ([10, 60, 400], [10, 20, 100])
    assert "NEO_DTYPE" in line["override"]


def test_a_measurement_of_this_machine() -> None:
    exact, half = precision._seconds([(64, 32), (32, 64)])
    assert all(0 < value < 1 for value in (*exact, *half))


def test_the_shapes_are_those_of_the_blocks(tmp_path: Path) -> None:
    model = tiny.model()
    model.save(tmp_path)
    layers = [layer for layer in model.lm.base_model.modules() if isinstance(layer, torch.nn.Linear)]
    assert NeoModel.shapes(tmp_path) == [tuple(layer.weight.shape) for layer in layers]
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="restore it"):
        NeoModel.shapes(tmp_path)
    with pytest.raises(ModelError, match="no model folder"):
        NeoModel.shapes(tmp_path / "nowhere")
