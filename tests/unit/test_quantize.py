"""int8 in the blocks of a model: which layers, how close, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from neo_runtime.engine.backbone import PackedBackbone, backbone_of
from neo_runtime.errors import ModelError
from neo_runtime.model.quantize import Int8Linear, quantize
from tests.kit import tiny


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_blocks_are_int8_and_the_rest_stays(dtype: torch.dtype) -> None:
    lm = tiny.model().lm.to(dtype)
    exact = copy.deepcopy(lm)
    quantize(lm)
    assert not any(isinstance(layer, torch.nn.Linear) for layer in lm.base_model.modules())
    assert sum(isinstance(layer, Int8Linear) for layer in lm.modules()) == 2 * 7
    for module in (lm.get_output_embeddings(), lm.get_input_embeddings()):
        assert module.weight.dtype is dtype
    tokens = torch.arange(1, 25)[None]  # embedding 0 is the padding's: zeros
    with torch.inference_mode():
        before, after = (model(input_ids=tokens).logits.float() for model in (exact, lm))
    assert lm(input_ids=tokens).logits.dtype is dtype
    assert torch.nn.functional.cosine_similarity(before, after, dim=-1).min() > 0.99


def test_what_shares_passes_takes_it() -> None:
    lm = tiny.model().lm
    quantize(lm)
    assert isinstance(backbone_of(lm, contexts=2, columns=16), PackedBackbone)


def test_sides_that_int8_products_do_not_take_stay() -> None:
    body = torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.Linear(12, 16), torch.nn.Linear(16, 16))
    lm = tiny.model().lm
    lm.base_model.layers[0].mlp = body
    quantize(lm)
    assert [type(layer) for layer in body] == [torch.nn.Linear, torch.nn.Linear, Int8Linear]


def test_a_model_without_such_layers_is_refused() -> None:
    lm = AutoModelForCausalLM.from_config(
        transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    )
    with pytest.raises(ModelError, match="int8"):
        quantize(lm)
