"""A catalog and a random model of toy size, made in well under a second."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Delete, RawRecord, Upsert
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.types import ItemKey, Position

DIMENSION = 8
EMBEDDER = "test-vectors"
TYPES = {"film": (8, 8, 8), "book": (6, 6), "artist": (4, 4, 4, 4)}
LONG = DecoderShape(width=32, layers=1, feed_forward=64, context_tokens=8_192)
"""Of models whose answers may last for seconds."""


def vector(key: ItemKey, version: int = 0) -> np.ndarray:
    """The same item and version give the same vector."""
    seed = [version, *key.type.encode(), *key.id.encode()]
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)


def codebooks(types: dict[str, tuple[int, ...]] = TYPES) -> dict[str, Codebook]:
    return dict(_fitted(tuple(types.items())))


@cache
def _fitted(types: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, Codebook]:
    """Fitting is slow on busy cores; codebooks are immutable."""
    rng = np.random.default_rng(0)
    return {
        name: fit_codebook(name, EMBEDDER, rng.normal(size=(300, DIMENSION)).astype(np.float32), sizes, seed=1)
        for name, sizes in types
    }


def raw(offset: int = 0, topic: str = "test", partition: int = 0) -> RawRecord:
    return RawRecord(Position(topic, partition, offset), None, None)


def upsert(
    item: str, *, time: int = 1, title: str = "", version: int = 0, popularity: float = 0.5, offset: int = 0,
    **attributes: str,
) -> Upsert:  # fmt: skip
    """`item` is type/id."""
    key = ItemKey.parse(item)
    return Upsert(
        key,
        time,
        title or f"Title of {key.id}",
        "",
        attributes,
        popularity,
        vector(key, version),
        EMBEDDER,
        raw(offset),
    )


def delete(item: str, *, time: int = 1, tombstone: bool = False, offset: int = 0) -> Delete:
    return Delete(ItemKey.parse(item), time, tombstone, raw(offset))


def items(per_type: int, types: dict[str, tuple[int, ...]] = TYPES) -> list[str]:
    return [f"{name}/{name[0]}{number}" for name in types for number in range(per_type)]


def catalog(
    path: Path, per_type: int = 20, *, policy: CollisionPolicy = CollisionPolicy.NEAREST_FREE,
    types: dict[str, tuple[int, ...]] = TYPES,
) -> Catalog:  # fmt: skip
    made = Catalog.create(path, codebooks(types), policy=policy)
    if per_type:
        made.apply([upsert(item) for item in items(per_type, types)])
    return made


def model(*, seed: int = 0, shape: DecoderShape | None = None, types: dict[str, tuple[int, ...]] = TYPES) -> NeoModel:
    """Random weights: every distribution is broad, so constraints are really exercised."""
    texts = ["Recommend a film for someone who liked this and that. Find a book: war and peace. Describe an artist."]
    tokenizer = fresh_tokenizer(texts, 300)
    lm = fresh_decoder(
        shape or DecoderShape(width=32, layers=2, heads=4, key_value_heads=2, feed_forward=64, context_tokens=256),
        len(tokenizer), end_token=tokenizer.eos_token_id, seed=seed,
    )  # fmt: skip
    return NeoModel.extend("tiny", lm.eval(), tokenizer, codebooks(types))


def llama() -> NeoModel:
    """The same of another architecture."""
    torch.manual_seed(1)
    tokenizer = fresh_tokenizer(["Recommend a film. Find a book."], 290)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=256, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return NeoModel.extend("llama", LlamaForCausalLM(config).eval(), tokenizer, codebooks())
