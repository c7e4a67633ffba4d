"""What training starts from: any Hugging Face decoder, or a fresh small one, with markers and codes as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from neo_runtime.catalog.encode import event_text
from neo_runtime.data.dataset import Dataset
from neo_runtime.embed.base import Vectors
from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.prompt.phrases import BEGINNINGS, SENTENCES
from neo_runtime.prompt.tasks import with_article
from neo_runtime.prompt.wordings import ALL_WORDINGS
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.training.recipe import BaseRecipe
from neo_runtime.training.rows import start_from_centroids, start_words_from_items
from neo_runtime.training.sids import EMBEDDINGS_FILE


def start_model(name: str, recipe: BaseRecipe, sids: Path, dataset: Dataset) -> NeoModel:
    """`sids`: stage 1's folder. ModelError where the decoder cannot be loaded or extended."""
    codebooks = load_codebooks(sids / "codebooks")
    torch.manual_seed(recipe.seed)
    if recipe.is_fresh:
        tokenizer = fresh_tokenizer(_texts(dataset), recipe.text_tokens)
        shape = DecoderShape(
            recipe.width, recipe.layers, recipe.heads, recipe.key_value_heads, recipe.feed_forward,
            recipe.context_tokens,
        )  # fmt: skip
        lm = fresh_decoder(shape, len(tokenizer), end_token=tokenizer.eos_token_id, seed=recipe.seed)
    else:
        lm, tokenizer = _pretrained(recipe.name)
    model = NeoModel.extend(name, lm, tokenizer, codebooks)
    if recipe.code_rows == "centroids":
        start_from_centroids(model, seed=recipe.seed)
        if recipe.is_fresh and (sids / EMBEDDINGS_FILE).exists():
            _start_words(model, np.load(sids / EMBEDDINGS_FILE, mmap_mode="r"), dataset)
    note = f"from {recipe.name}" if recipe.name else "from random weights"
    return replace(model, note=f"Trained with `neo train` {note}.")


def _pretrained(name: str) -> tuple[torch.nn.Module, object]:
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"base {name!r}: no decoder can be loaded from there ({error})") from error


def _start_words(model: NeoModel, vectors: Vectors, dataset: Dataset) -> None:
    texts, codes = {}, {}
    for name, codebook in model.codebooks.items():
        items = dataset.known_items(name)
        # Prompts have the items' words as they are written, queries in small letters.
        texts[name] = [f"{text} {text.lower()}" for text in map(event_text, items)]
        codes[name] = codebook.encode(vectors[[item.source.position.offset for item in items]])[0][:, 0]
    start_words_from_items(model, texts, codes)


def _texts(dataset: Dataset) -> Iterable[str]:
    """What the model will read and write."""
    yield from chain(_wordings(list(dataset.items)), SENTENCES, BEGINNINGS)
    for item_type in dataset.items:
        for text in map(event_text, dataset.known_items(item_type)):
            yield text
            yield text.lower()


def _wordings(types: list[str]) -> Iterator[str]:
    """Every prompt has them: there are enough that the fitted tokenizer spends few tokens on them."""
    for words in ALL_WORDINGS:
        for item_type in types:
            yield words.replace("{type}", with_article(item_type))
