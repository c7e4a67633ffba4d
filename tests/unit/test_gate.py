"""An int8 model is served where it still ranks as it did, and refused with the figures where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neo_runtime.engine import gate
from neo_runtime.engine.api import Ranked
from neo_runtime.engine.gate import Recorded, compare, quantize_through_gate, read_recorded
from neo_runtime.engine.span import Normalization
from neo_runtime.errors import ModelError
from neo_runtime.model.quantize import Int8Linear
from tests.kit import tiny

TYPES = {"film": (8, 8, 8), "book": (8, 8)}
ITEMS = 60  # of each type: more than a list has
RECORDED = [
    Recorded("film", ("book/b1", "film/f2"), next="film/f3"),
    Recorded("book", query="war and peace"),
    Recorded("film"),
]


def ranked(*codes: int) -> list[Ranked]:
    return [Ranked("film", (code,), (f"f{code}", f"also-{code}"), -float(code)) for code in codes]


def through(tmp_path: Path, recorded: list[Recorded] = RECORDED, least: float = 0.0) -> gate.Comparison:
    catalog, model = tiny.catalog(tmp_path / "c", ITEMS, types=TYPES), tiny.model(types=TYPES)
    try:
        found = quantize_through_gate(
            model, catalog.reader, recorded, Normalization.LEVEL, min_overlap=least, max_hit_loss=0.02
        )
    finally:
        catalog.close()
    assert any(isinstance(layer, Int8Linear) for layer in model.lm.modules())
    return found


def test_overlap_and_hits() -> None:
    recorded = [Recorded("film", next="film/also-3"), Recorded("film", next="film/f20"), Recorded("film")]
    before = [ranked(*range(20)), ranked(*range(20)), ranked(1, 2, 3, 4)]
    after = [ranked(*range(19, -1, -1)), ranked(20, *range(19)), ranked(4, 5)]
    found = compare(recorded, before, after)
    assert found.overlap == pytest.approx((1 + 19 / 20 + 1 / 4) / 3)
    assert (found.prompts, found.hits_before, found.hits_after, found.hit_loss) == (3, 1, 1, 0)
    assert compare(recorded, before, [ranked(), ranked(), ranked()]).hit_loss == 1
    assert compare(recorded, [ranked(1)] * 3, before).hit_loss == -1  # a gain, of none before


def test_a_model_that_ranks_alike_passes(tmp_path: Path) -> None:
    found = through(tmp_path, least=0.8)
    assert found.prompts == 3
    assert found.overlap >= 0.8


def test_a_damaged_model_is_refused_with_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(lm: torch.nn.Module) -> None:
        for weight in lm.parameters():
            weight.data.normal_()

    monkeypatch.setattr(gate, "quantize", damage)
    with pytest.raises(ModelError, match=r"0\.\d+ of the first 30 .* over 3 recorded prompts; set another") as refused:
        through(tmp_path, least=0.9)
    assert refused.value.reason == "INT8_GATE"


def test_a_prompt_that_cannot_be_ranked_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"recorded prompt 2 .*'song' is not one of"):
        through(tmp_path, [RECORDED[0], Recorded("song")])


@pytest.mark.parametrize(
    "text", ["", "{", '{"history": []}', '{"type": "film", "histroy": []}', '{"type": "film", "history": ["f1"]}']
)
def test_files_that_are_no_evaluation(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"evaluation\.jsonl"):
        read_recorded(path)


def test_a_missing_file_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--gate"):
        read_recorded(tmp_path / "nothing.jsonl")


def test_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text('{"type":"film","history":["book/b1","film/f2"],"next":"film/f3"}\n\n{"type":"book","query":"x"}\n')
    assert read_recorded(path) == [RECORDED[0], Recorded("book", query="x")]
