"""Random models of given shapes over a random catalog, and the peer's way to the same answers, for `bench_engine`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import fresh_tokenizer
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.sid.codebook import Codebook
from neo_runtime.types import ItemKey, Position

BEAMS, LEVELS, CODES, DIMENSION = 30, 4, 256, 16
CONTEXT = 2_048


class Shape(NamedTuple):
    """Of a Qwen3; `vocabulary` of text."""

    width: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int


SHAPES = {
    "tiny": Shape(256, 4, 8, 4, 32, 768, 4_830),
    "0.3b": Shape(1_024, 14, 16, 8, 128, 3_072, 151_936),  # half of the layers: generate at batch 8 fits into 24 GB
    "0.6b": Shape(1_024, 28, 16, 8, 128, 3_072, 151_936),
}


def tokenizer_of(size: int) -> PreTrainedTokenizerFast:
    """One token a letter, and words that nobody uses up to `size`."""
    tokenizer = fresh_tokenizer(["a"], 260)
    words = [AddedToken(f"<{number}>", normalized=False) for number in range(size - len(tokenizer))]
    tokenizer.add_tokens(words)
    return tokenizer


def model_of(kind: str, dtype: torch.dtype, codebook: Codebook) -> NeoModel:
    shape = SHAPES[kind]
    tokenizer = tokenizer_of(shape.vocabulary)
    config = Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads, head_dim=shape.head_width,
        intermediate_size=shape.feed_forward, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    lm = Qwen3ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    return NeoModel.extend(kind, lm, tokenizer, {"item": codebook})


def catalog_of(folder: Path, items: int) -> tuple[Catalog, Codebook]:
    rng = np.random.default_rng(0)
    levels = tuple(rng.normal(size=(CODES, DIMENSION)).astype(np.float32) / 2**level for level in range(LEVELS))
    codebook = Codebook("item", "random", levels)
    catalog, source = Catalog.create(folder, {"item": codebook}), RawRecord(Position("bench", 0, 0), None, None)
    vectors = rng.normal(size=(items, DIMENSION)).astype(np.float32)
    for start in range(0, items, 5_000):
        catalog.apply([
            Upsert(ItemKey("item", str(n)), 1, f"Item {n}", "", {}, 0.0, vectors[n], "random", source)
            for n in range(start, min(start + 5_000, items))
        ])  # fmt: skip
    return catalog, codebook


def prompt_of(tokens: int, rng: np.random.Generator, beginning: str = "") -> Conversation:
    """Random letters; with the template's marks and the opening marker, `tokens` tokens."""
    letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), tokens - 3 - len(beginning)))
    return Conversation((Turn("user", (beginning + letters,)),))


def allowed_of(catalog: Catalog, model: NeoModel) -> dict[tuple[int, ...], list[int]]:
    """Allowed next tokens after every prefix of code tokens."""
    allowed: dict[tuple[int, ...], set[int]] = {}
    with catalog.store.read() as txn:
        sids = [sid for sid, _ in txn.sids("item")]
    for row in catalog.codebooks["item"].space.unpack(np.array(sids, np.uint64)).tolist():
        tokens = model.vocabulary.span("item", row)[1:-1]
        for depth, token in enumerate(tokens):
            allowed.setdefault(tuple(tokens[:depth]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in allowed.items()}


def backbone_flops(model: NeoModel) -> float:
    """Of one token through all layers, without attention and head."""
    layers = model.lm.base_model.layers
    return 2.0 * sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)


def gemm_rate(model: NeoModel, rows: int) -> float:
    """FLOP/s of the model's own weight matrices, one after the other, on `rows` rows."""
    weights = [weight for weight in model.lm.base_model.layers.parameters() if weight.ndim == 2]
    inputs = {n: torch.randn(rows, n, dtype=weights[0].dtype) for n in {weight.shape[1] for weight in weights}}

    def once() -> float:
        began = time.perf_counter()
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        return time.perf_counter() - began

    with torch.inference_mode():
        once()
        return rows * backbone_flops(model) / min(once() for _ in range(3))
