"""Only models whose scores our halves reproduce are served: others are refused at the start, not wrong in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, PreTrainedConfig

from neo_runtime.engine.attention import _products
from neo_runtime.engine.backbone import Backbone, PackedBackbone, PlainBackbone, backbone_of
from neo_runtime.engine.passes import Head
from neo_runtime.errors import ModelError

SIZES = {
    "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
SUPPORTED: dict[str, PreTrainedConfig] = {
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=8),
    "llama": transformers.LlamaConfig(**SIZES),
    "mistral without a window": transformers.MistralConfig(**SIZES, sliding_window=None),
    "gpt2": transformers.GPT2Config(
        vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    ),
}
REFUSED: dict[str, PreTrainedConfig] = {
    "a window": transformers.MistralConfig(**SIZES, sliding_window=32),
    "scaled logits": transformers.GraniteConfig(**SIZES, logits_scaling=8.0),
    "positions from the mask": transformers.MptConfig(vocab_size=64, d_model=16, n_layers=2, n_heads=2),
    "another cache": transformers.BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=2),
}


def served(lm: transformers.PreTrainedModel) -> Backbone:
    return backbone_of(lm, contexts=2, columns=16)


def made(config: PreTrainedConfig) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(config).eval()
    for weight in lm.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.3)
    return lm


@pytest.mark.parametrize("name", SUPPORTED)
def test_full_attention_with_a_plain_head_is_served(name: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        lm = made(SUPPORTED[name]).to(dtype)
        assert isinstance(served(lm), PackedBackbone)
        PlainBackbone(lm)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_tree_cannot_describe_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="not supported"):
        served(made(REFUSED[name]))


@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_by_products_is_that_of_torch(scale: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 20, 8), torch.randn(2, 3, 20, 8)
    mask = torch.zeros(2, 1, 10, 20).masked_fill_(torch.rand(2, 1, 10, 20) < 0.4, -torch.inf)
    mask[..., 0] = 0  # every row sees something
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    torch.testing.assert_close(_products(query, key, value, attn_mask=mask, scale=scale), expected)


def test_halves_rank_as_the_model_does_in_one_pass_with_others() -> None:
    """Trees of several requests beside one another, in bfloat16 and so by products: each is near its own float32."""
    lm = made(SUPPORTED["qwen3"])
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        backbone = backbone_of(lm.to(dtype), contexts=3, columns=32)
        contexts = [backbone.context() for _ in range(3)]
        backbone.run([context.extend([1, 2, row + 3]) for row, context in enumerate(contexts)])
        levels, parents = [np.arange(5)], np.zeros(5, np.int64)
        trees = [context.grow(levels, parents, [Head(slice(None), np.arange(5))]) for context in contexts]
        found.append(np.array(backbone.run(trees)))
    assert np.abs(found[1] - found[0]).max() < 0.05 * np.abs(found[0]).max()
    assert np.abs(found[0][0, 0] - found[0][1, 0]).max() > 0.05 * np.abs(found[0]).max(), "the prompts differ"
