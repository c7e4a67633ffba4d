"""Several samples in one row: each is learned as if it were alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.engine.span import Normalization
from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.batches import Batches, batch_of, shared_rows
from neo_runtime.training.examples import Example, ExampleWriter
from neo_runtime.training.grounded import GroundedLM, Trained, refuse_leaks
from neo_runtime.training.losses import TokenGroups
from tests.kit import learning, tiny


@pytest.mark.parametrize("kind", [tiny.model, tiny.llama])
def test_samples_that_share_a_row_see_nothing_of_each_other(kind: Callable[[], NeoModel]) -> None:
    """Their states are those that each has alone, and not a bit of them depends on the neighbour."""
    model = kind()
    module = GroundedLM(model, TokenGroups(model.vocabulary, Normalization.LEVEL), Trained.ALL).eval()
    write = ExampleWriter(model, learning.SIDS).write
    examples = [write(learning.Histories().sample(number)) for number in range(12)]
    (row,) = shared_rows(examples, 10_000)
    together = batch_of([row])
    states = module.states(together["input_ids"], together["position_ids"])[0]
    start = 0
    for example in row:
        alone = module.states(torch.tensor([example.tokens]))[0]
        assert torch.allclose(states[start : start + len(alone)], alone, atol=1e-5)
        start += len(alone)
    last = len(row[-1].tokens)
    other = together["input_ids"].clone()
    other[0, :-last] = 7
    assert torch.equal(module.states(other, together["position_ids"])[0, -last:], states[-last:])


def test_shared_rows_teach_what_rows_of_their_own_teach() -> None:
    model = tiny.model()
    groups = TokenGroups(model.vocabulary, Normalization.LEARNED, learning.learned())
    module = GroundedLM(model, groups, Trained.ALL)
    write = ExampleWriter(model, learning.SIDS, learn_history=True).write
    examples = [write(learning.Histories().sample(number)) for number in range(40)]
    found = []
    for batch in (learning.padded(examples), batch_of(shared_rows(examples, 200))):
        module.zero_grad()
        loss = module(**batch)["loss"]
        loss.backward()
        found.append((float(loss), [weight.grad.clone() for weight in module.parameters() if weight.grad is not None]))
    (apart, theirs), (shared, ours) = found
    assert shared == pytest.approx(apart, rel=1e-5)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(ours, theirs, strict=True))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 50))
def test_rows_are_shared_by_all_examples_and_as_full_as_may_be(lengths: list[int], row_tokens: int) -> None:
    examples = [Example([number] * length, [False] * length) for number, length in enumerate(lengths)]
    rows = shared_rows(examples, row_tokens)
    assert sorted(example.tokens[0] for row in rows for example in row) == list(range(len(lengths)))
    sizes = [sum(len(example.tokens) for example in row) for row in rows]
    assert all(size <= row_tokens or len(row) == 1 for size, row in zip(sizes, rows, strict=True))
    assert sum(size <= row_tokens / 2 for size in sizes) <= 1, "two rows that are half empty would be one"


def test_a_decoder_that_mixes_samples_of_a_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model().lm
    refuse_leaks(lm)
    body = lm.base_model.forward
    monkeypatch.setattr(lm.base_model, "forward", lambda position_ids=None, **inputs: body(**inputs))
    with pytest.raises(ModelError, match="row_tokens = 0"):
        refuse_leaks(lm)


def test_batches_of_shared_rows_hold_as_many_tokens() -> None:
    model = tiny.model()
    write = ExampleWriter(model, learning.SIDS).write
    batches = Batches(learning.Histories(), write, batch_tokens=1_200, count=64, row_tokens=300)
    found = [batches[number] for number in range(64)]
    assert np.mean([batch["input_ids"].numel() for batch in found]) == pytest.approx(1_200, rel=0.1)
    assert np.mean([float((batch["position_ids"] == 0).sum()) for batch in found]) > 6, "several samples a row"
