"""The processors of docs/other-engines.md, as they stand there, against stand-ins for the classes of vLLM."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from neo_runtime.model.grammar import SpanGrammar
from neo_runtime.model.logits_processor import mask
from neo_runtime.trie import Restriction
from tests.kit import tiny

PAGE = Path(__file__).parents[2] / "docs" / "other-engines.md"
CODE = re.findall(
    r"<!-- tested: tests/unit/test_other_engines.py -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL
)


class Moves(Enum):
    UNIDIRECTIONAL = 0
    SWAP = 1


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page defines, with a model's folder and a catalog for it to find."""
    for name in ("vllm.v1.worker.gpu.sample.logits_processor", "vllm.v1.sample.logits_processor"):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
        monkeypatch.setattr(sys.modules[name], "LogitsProcessor", object, raising=False)
        monkeypatch.setattr(sys.modules[name], "MoveDirectionality", Moves, raising=False)
    tiny.catalog(tmp_path / "catalog").close()
    tiny.model().save(tmp_path / "model")
    monkeypatch.setenv("NEO_CATALOG", str(tmp_path / "catalog"))
    settings = SimpleNamespace(speculative_config=None, model_config=SimpleNamespace(model=str(tmp_path / "model")))
    defined: dict[str, Any] = {"settings": settings}
    exec("\n".join(CODE), defined)
    return defined


def params(*item_types: str) -> Any:
    return SimpleNamespace(extra_args={"item_types": list(item_types)} if item_types else None)


def cases(grounding: Any) -> list[tuple[Any, list[int]]]:
    """Requests and their tokens: text, a span that begins, one that goes on, one of nothing live, none asked for."""
    vocabulary, film = grounding.vocabulary, grounding.reader.view().types["film"]
    some = vocabulary.span("film", film.space.unpack_one(int(film.delta.keys[0])))
    return [
        (params("film", "book"), [5, 6, 7, 8, 9, 10, 11]),
        (params("film", "book"), [*range(40), vocabulary.span_open]),
        (params("film"), [3, *some[:3]]),
        (params("film"), [3, *some[:4]]),
        (params("book"), some[:3]),
        (params(), [4, vocabulary.span_open]),
    ]


def assert_masked(grounding: Any, masked: torch.Tensor, scores: torch.Tensor, order: list[int]) -> None:
    vocabulary, view = grounding.vocabulary, grounding.reader.view()
    for row, case in enumerate(order):
        wanted, tokens = cases(grounding)[case]
        if not wanted.extra_args:
            assert torch.equal(masked[row, : vocabulary.span_open], scores[row, : vocabulary.span_open])
            assert masked[row, vocabulary.span_open :].isneginf().all()
            continue
        grammar = SpanGrammar(view.restrict(Restriction(wanted.extra_args["item_types"])), vocabulary)
        allowed = grammar.allowed(np.array([tokens]))
        if len(allowed.stuck):
            assert masked[row].isfinite().nonzero().tolist() == [[vocabulary.span_close]]
        else:
            assert torch.equal(masked[row], mask(scores[row : row + 1], allowed, vocabulary)[0])


def test_model_runner_v2(engines: dict[str, Any]) -> None:
    slots = [3, 0, 6, 2, 5, 1]  # of the requests, which are rows in another order
    tokens = torch.zeros(8, 64, dtype=torch.int32)
    states = SimpleNamespace(all_token_ids=SimpleNamespace(gpu=tokens), max_num_reqs=8)
    processor = engines["Grounded"](engines["settings"], states)
    for slot, (wanted, row) in zip(slots, cases(processor.grounding), strict=True):
        assert processor.add_request(slot, wanted)
        tokens[slot, : len(row)] = torch.tensor(row)
    order = [4, 2, 0, 5, 1, 3]
    context = SimpleNamespace(
        pos=torch.tensor([len(cases(processor.grounding)[case][1]) - 1 for case in order]),
        expanded_idx_mapping=torch.tensor([slots[case] for case in order], dtype=torch.int32),
    )
    scores = torch.randn(len(order), processor.grounding.vocabulary.size + 3)
    assert_masked(processor.grounding, processor.apply(scores.clone(), context), scores, order)


def test_model_runner_v1(engines: dict[str, Any]) -> None:
    processor = engines["GroundedV1"](engines["settings"], torch.device("cpu"), False)
    assert not processor.is_argmax_invariant()
    added = [(row, wanted, tokens[:-1], tokens[-1:]) for row, (wanted, tokens) in enumerate(cases(processor.grounding))]
    update = SimpleNamespace(removed=[], added=[(6, params(), None, []), *added], moved=[])
    processor.update_state(update)
    processor.update_state(None)
    scores = torch.randn(7, processor.grounding.vocabulary.size)
    assert_masked(processor.grounding, processor.apply(scores.clone())[:6], scores, [0, 1, 2, 3, 4, 5])
    moves = [(0, 3, Moves.SWAP), (6, 1, Moves.UNIDIRECTIONAL), (5, 2, Moves.UNIDIRECTIONAL)]
    processor.update_state(SimpleNamespace(removed=[1, 2], added=[], moved=moves))
    assert sorted(processor.requests) == [0, 1, 2, 3, 4]
    assert_masked(processor.grounding, processor.apply(scores[:5].clone()), scores, [3, 5, 5, 0, 4])


def test_draft_tokens_are_refused(engines: dict[str, Any]) -> None:
    engines["settings"].speculative_config = object()
    with pytest.raises(ValueError, match="draft"):
        engines["Grounding"](engines["settings"])
