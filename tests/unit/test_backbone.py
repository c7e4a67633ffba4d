"""Only models whose scores our halves reproduce are served: others are refused at the start, not wrong in silence."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig

from neo_runtime.engine.backbone import Backbone, PackedBackbone, PlainBackbone, backbone_of
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
