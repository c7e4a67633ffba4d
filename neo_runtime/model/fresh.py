"""New small models and tokenizers, for catalogs whose team starts from nothing and for tests. Qwen3 architecture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

END, USER, ASSISTANT, SYSTEM = "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
_MATRICES = 0.5
"""Deviation of the blocks' weights, beside 1/√width for the embedding."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def fresh_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `size` tokens: every text can be written, none is unknown."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=END)
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Size of a small Qwen3."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 192
    context_tokens: int = 512


def fresh_decoder(shape: DecoderShape, vocabulary_size: int, *, end_token: int, seed: int = 0) -> Qwen3ForCausalLM:
    """Random weights, tied head. Rows of the embedding are of length one on average, so that what they start from, the
    codes' centroids, outlasts the first steps of an optimiser whose steps do not depend on the gradient's length.
    """
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.width // shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.context_tokens,
        tie_word_embeddings=True,
        initializer_range=_MATRICES * shape.width**-0.5,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=end_token,
        pad_token_id=end_token,
    )
    lm = Qwen3ForCausalLM(config)
    with torch.no_grad():
        lm.get_input_embeddings().weight /= _MATRICES
    return lm
