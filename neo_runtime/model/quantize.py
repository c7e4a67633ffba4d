"""int8 in the decoder's blocks: weights with a scale for each output, activations with a scale for each row.

A row's result depends on that row alone, bit for bit: its scale is its own, and integer sums have no order. One scale
for a whole pass would let a stranger's request change an answer. Head and embeddings stay as they are.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from neo_runtime.errors import ModelError

_LARGEST = 127
_LEAST_SCALE = 1e-12  # of a row of zeros
# On CUDA, torch multiplies int8 matrices of more than 16 rows, and of sides that are multiples of 8.
_CUDA_ROWS, _CUDA_SIDE = 17, 8


class Int8Linear(nn.Module):
    """In place of an `nn.Linear`: int8 [out, in] times int8 [rows, in], summed exactly in int32, scaled in float32."""

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        codes, scale = _quantized(linear.weight.detach())
        self.register_buffer("weight", codes)
        self.register_buffer("scale", scale[:, 0])
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[…, in] → […, out], in the type of the inputs."""
        codes, scale = _quantized(inputs.reshape(-1, inputs.shape[-1]))
        out = _product(codes, self.weight).float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            out += self.bias
        return out.to(inputs.dtype).view(*inputs.shape[:-1], -1)


def quantize(lm: PreTrainedModel) -> None:
    """Replace, in place, the Linear layers of the blocks. ModelError where there is none.

    Layers whose sides are no multiples of 8 stay as they are.
    """
    body = lm.base_model
    found = [name for name, layer in body.named_modules() if isinstance(layer, nn.Linear) and _fits(layer)]
    if not found:
        raise ModelError(f"models of kind {lm.config.model_type} have no layers for dtype int8; set another one")
    for name in found:  # not the layers: each is free once it is replaced
        path, _, own = name.rpartition(".")
        parent = body.get_submodule(path)
        setattr(parent, own, Int8Linear(getattr(parent, own)))


def _fits(layer: nn.Linear) -> bool:
    return layer.in_features % _CUDA_SIDE == 0 and layer.out_features % _CUDA_SIDE == 0


def _quantized(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 [n, width], and what one step of each row is worth: float32 [n, 1]."""
    exact = rows.float()
    scale = exact.abs().amax(-1, keepdim=True).clamp_min_(_LEAST_SCALE).div_(_LARGEST)
    return (exact / scale).round_().to(torch.int8), scale


def _product(codes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """int32 [n, out] of int8 [n, in] and [out, in]."""
    missing = _CUDA_ROWS - len(codes) if codes.is_cuda else 0
    if missing > 0:
        return torch._int_mm(pad(codes, (0, 0, 0, missing)), weight.t())[: len(codes)]
    return torch._int_mm(codes, weight.t())
