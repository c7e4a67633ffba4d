"""The line through the times of passes, and what is read off it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.engine.pace import Pace, PaceMeter
from tests.kit import tiny


@given(st.floats(1e-4, 1.0), st.floats(1e-6, 0.1))
def test_exact_times_give_their_line(pass_s: float, row_s: float) -> None:
    meter = PaceMeter()
    for rows in (1, 16, 512):
        meter.take(rows, pass_s + rows * row_s)
    assert meter.pace.pass_s == pytest.approx(pass_s, rel=1e-3, abs=1e-6)
    assert meter.pace.row_s == pytest.approx(row_s, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 4_096), st.floats(0, 100)), min_size=1, max_size=30))
def test_whatever_was_measured_no_part_is_negative(passes: list[tuple[int, float]]) -> None:
    meter = PaceMeter()
    for rows, seconds in passes:
        meter.take(rows, seconds)
    assert meter.pace.pass_s >= 0
    assert meter.pace.row_s >= 0
    assert np.isfinite(meter.pace).all()


def test_many_small_passes_do_not_drown_the_large_one() -> None:
    meter = PaceMeter()
    meter.take(512, 0.002 + 512e-4)
    for _ in range(10_000):
        meter.take(8, 0.002 + 8e-4)
    assert meter.pace.seconds(512) == pytest.approx(0.002 + 512e-4, rel=0.01)


def test_a_machine_that_became_slower_is_noticed() -> None:
    meter = PaceMeter()
    for seconds in (0.01, *[0.1] * 50):
        meter.take(100, seconds)
    assert meter.pace.seconds(100) == pytest.approx(0.1, rel=0.02)


@given(st.floats(0, 1), st.floats(0, 0.1), st.floats(0, 10))
def test_the_largest_pass_that_fits_fits_and_one_more_row_does_not(pass_s: float, row_s: float, within: float) -> None:
    pace = Pace(pass_s, row_s)
    rows = pace.rows_within(within, 512)
    assert 0 <= rows <= 512
    assert rows == 0 or pace.seconds(rows) <= within * (1 + 1e-9)
    assert rows == 512 or pace.seconds(rows + 1) >= within * (1 - 1e-9)


def test_a_model_is_measured_before_anybody_asks(tmp_path: object) -> None:
    from neo_runtime.engine.backbone import backbone_of

    meter, backbone = PaceMeter(), backbone_of(tiny.model().lm, contexts=1, columns=256)
    meter.learn(backbone, 256)
    assert meter.pace.seconds(512) > 0
    assert backbone.context().row == 0, "no place is kept"


def test_a_context_shorter_than_the_passes_to_learn_from_is_not_written_past() -> None:
    from neo_runtime.engine.backbone import backbone_of

    meter, backbone = PaceMeter(), backbone_of(tiny.model().lm, contexts=1, columns=20)
    meter.learn(backbone, 20)
    assert meter.pace.seconds(20) > 0
