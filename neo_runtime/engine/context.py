"""One request's attention state over any Hugging Face decoder: a line of tokens, and a tree of beams at its end.

The tree shares the line's keys and values: its rows go through the model side by side, each seeing the line and its own
ancestors only (a tree mask). Nothing is copied per beam, and dropping the tree is cutting the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from neo_runtime.errors import ModelError

# How far the probe may be from the model's own logits, relative to the largest: rounding, not another function.
_TOLERANCE, _HALF_TOLERANCE = 0.02, 0.1


class Backbone:
    """The model's two halves: tokens to hidden states, hidden states to logits of a slice of the vocabulary."""

    def __init__(self, lm: PreTrainedModel) -> None:
        """ModelError for attention that a tree mask does not describe, and for heads that do more than multiply."""
        layer_types = set(getattr(lm.config, "layer_types", None) or ["full_attention"])
        # Mistral and Phi-3 have a window without naming layer types; their cache tells.
        if any(getattr(layer, "is_sliding", False) for layer in DynamicCache(config=lm.config).layers):
            layer_types = {"sliding_attention"}
        if layer_types != {"full_attention"}:
            raise ModelError(
                f"models with {', '.join(sorted(layer_types))} layers are not supported; use full attention"
            )
        self.lm = lm
        self.device = lm.device
        self._head = lm.get_output_embeddings()
        # transformers 5.24 renamed it; the old name goes with 5.40.
        self._cache_name = "cache" if "cache" in signature(lm.base_model.forward).parameters else "past_key_values"
        self._refuse_unlike()

    @torch.inference_mode()
    def states(self, ids: torch.Tensor, cache: DynamicCache, **inputs: torch.Tensor) -> torch.Tensor:
        """Hidden states [n, d] of token ids [1, n], whose keys and values are appended to `cache`."""
        out = self.lm.base_model(input_ids=ids, use_cache=True, **{self._cache_name: cache}, **inputs)
        hidden: torch.Tensor = out.last_hidden_state[0]
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor, tokens: slice) -> NDArray[np.float32]:
        """Hidden [n, d] to float32 [n, tokens]."""
        bias = getattr(self._head, "bias", None)
        out = torch.nn.functional.linear(hidden, self._head.weight[tokens], None if bias is None else bias[tokens])
        return out.float().cpu().numpy()

    def _refuse_unlike(self) -> None:
        """Run the model as a whole and by our halves, on four tokens: scaled logits (Granite, Cohere), capped ones
        (Gemma 2) and positions that come from the mask (ALiBi) would give wrong scores without any error."""
        try:
            with torch.inference_mode():
                whole = self.lm(input_ids=torch.tensor([[0, 1, 2, 3]], device=self.device)).logits[0, [1, 3]]
            expected = whole.float().cpu().numpy()
            context = Context(self)
            line = context.extend([0, 1])
            context.grow(np.array([1, 2]), np.array([0, 0]))  # two siblings: a row must not see the other branch
            found = self.logits(torch.cat([line, context.grow(np.array([3]), np.array([1]))]), slice(None))
        except Exception as error:  # whatever a model of another kind stumbles over
            raise ModelError(f"models of kind {self.lm.config.model_type} are not supported ({error})") from error
        tolerance = _TOLERANCE if self.lm.dtype == torch.float32 else _HALF_TOLERANCE
        if np.abs(found - expected).max() > tolerance * np.abs(expected).max():
            raise ModelError(
                f"models of kind {self.lm.config.model_type} are not supported: "
                "their head or their attention does more than the runtime knows of"
            )


class Context:
    """`line` tokens are final; tree rows are dropped again."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._cache = DynamicCache(config=backbone.lm.config)
        self._line = 0
        self._visible = np.zeros((1, 0), bool)  # [rows of the last tree level, all tree rows so far]

    def extend(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append to the line. Hidden state of the last token: [1, d]."""
        assert not self._visible.shape[1], "the tree must be dropped first"
        ids = torch.tensor([list(tokens)], device=self._backbone.device)
        hidden = self._backbone.states(ids, self._cache)
        self._line += len(tokens)
        return hidden[-1:]

    def grow(self, tokens: NDArray[np.integer], parents: NDArray[np.integer]) -> torch.Tensor:
        """One tree level: `tokens` [n], each below row `parents` [n] of the level before. Hidden states [n, d]."""
        device, rows = self._backbone.device, len(tokens)
        depth = self._line + self._tree_depth()
        self._visible = np.concatenate([self._visible[parents], np.eye(rows, dtype=bool)], axis=1)
        mask = torch.ones(1, 1, rows, self._line + self._visible.shape[1], dtype=torch.bool)
        mask[0, 0, :, self._line :] = torch.from_numpy(self._visible)
        return self._backbone.states(
            torch.as_tensor(tokens, dtype=torch.long, device=device)[None],
            self._cache,
            position_ids=torch.full((1, rows), depth, device=device),
            attention_mask=mask.to(device),
        )

    def drop_tree(self) -> None:
        """Back to the line alone."""
        if self._visible.shape[1]:
            self._cache.crop(-self._visible.shape[1])
        self._visible = np.zeros((1, 0), bool)

    def _tree_depth(self) -> int:
        return int(self._visible[0].sum())
