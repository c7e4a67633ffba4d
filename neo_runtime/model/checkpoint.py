"""A grounded model on disk: a plain Hugging Face folder, plus `neo.json`, `codebooks/` and what tuples were learned.

`AutoModelForCausalLM.from_pretrained` loads the folder as it is; NeoModel adds the vocabulary and refuses what does not
belong together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from neo_runtime.errors import ModelError
from neo_runtime.model.about import ModelAbout
from neo_runtime.model.learned import load_learned, save_learned
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.space import Keys

# Used where a tokenizer brings no chat template: roles as plain words.
PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, eq=False)
class NeoModel:
    """A decoder with its tokenizer, codebooks and token layout."""

    name: str
    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    codebooks: Mapping[str, Codebook]
    note: str = ""
    learned: Mapping[str, Keys] = field(default_factory=dict)
    """By item type, where it is known: the packed tuples that the model was trained on, ascending."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Item type to codebook fingerprint."""
        return self.about.fingerprints

    @property
    def about(self) -> ModelAbout:
        return ModelAbout(self.name, self.note, self.vocabulary.text_size, self.codebooks)

    @property
    def context_tokens(self) -> int:
        return int(self.lm.config.max_position_embeddings)

    @classmethod
    def extend(
        cls, name: str, lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, codebooks: Mapping[str, Codebook]
    ) -> NeoModel:
        """Give any decoder the markers and code tokens. New rows start near the mean of the text rows."""
        vocabulary = Vocabulary(len(tokenizer), {key: book.space for key, book in codebooks.items()})
        tokens = [AddedToken(token, special=True, normalized=False) for token in vocabulary.new_tokens()]
        added = tokenizer.add_tokens(tokens)
        if added != len(tokens):
            raise ModelError(f"the tokenizer of {name} already has {len(tokens) - added} of the code tokens")
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_CHAT_TEMPLATE
        rows = lm.get_input_embeddings().weight.shape[0]  # may exceed the tokens: never shrink
        lm.resize_token_embeddings(max(rows, vocabulary.size), mean_resizing=False)
        with torch.no_grad():
            for weight in {
                id(w): w for w in (lm.get_input_embeddings().weight, lm.get_output_embeddings().weight)
            }.values():
                text = weight[: vocabulary.text_size]
                new = weight[vocabulary.text_size : vocabulary.size]
                new.copy_(text.mean(0) + torch.randn_like(new) * text.std())
        return cls(name, lm, tokenizer, vocabulary, dict(codebooks))

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs."""
        transformers_logging.disable_progress_bar()
        self.lm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_learned(folder, self.learned)
        self.about.save(folder)

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> NeoModel:
        """From a saved folder. ModelError where it is missing, incomplete, or not of one piece."""
        about = ModelAbout.load(folder)
        lm, tokenizer = _load_pretrained(folder, dtype)
        vocabulary = Vocabulary(about.text_size, {key: book.space for key, book in about.codebooks.items()})
        last = range(about.text_size, vocabulary.size)
        if len(tokenizer) != vocabulary.size or tokenizer.convert_ids_to_tokens(last) != vocabulary.new_tokens():
            raise ModelError(
                f"{folder}: the tokenizer's {len(tokenizer)} tokens are not the {vocabulary.size} of its codebooks"
            )
        rows = min(layer.weight.shape[0] for layer in (lm.get_input_embeddings(), lm.get_output_embeddings()))
        if rows < vocabulary.size:
            raise ModelError(f"{folder}: the weights know {rows} tokens, the codebooks need {vocabulary.size}")
        learned = load_learned(folder, vocabulary.spaces)
        return cls(about.name, lm.to(device).eval(), tokenizer, vocabulary, about.codebooks, about.note, learned)

    @staticmethod
    def shapes(folder: Path) -> list[tuple[int, int]]:
        """[out, in] of the matrices of the decoder's blocks, without loading them. ModelError as `load`."""
        ModelAbout.load(folder)
        try:
            with torch.device("meta"):
                lm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
        except Exception as error:  # transformers raises many kinds for a broken folder
            raise ModelError(f"model folder {folder} cannot be loaded ({error}); restore it") from error
        layers = [layer for layer in lm.base_model.modules() if not isinstance(layer, torch.nn.Embedding)]
        weights = [weight for layer in layers if isinstance(weight := getattr(layer, "weight", None), torch.Tensor)]
        return [(weight.shape[0], weight.shape[1]) for weight in weights if weight.ndim == 2]


def _load_pretrained(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, nothing downloaded, nothing silently left random."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers_logging.disable_progress_bar()
    try:
        lm, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a broken folder
        raise ModelError(f"model folder {folder} cannot be loaded ({error}); restore it") from error
    wrong = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])})
    if wrong:
        raise ModelError(f"{folder}: weights are missing or of the wrong shape: {', '.join(wrong[:5])}")
    return lm, tokenizer
