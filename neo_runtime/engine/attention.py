"""One pass for many requests, inside an unmodified Hugging Face decoder: an attention function that knows the plan.

The rows of all requests go through the model side by side as one sequence; only here do they part. Each row's key and
value are written to its request's columns in the pool, and it attends to those of its own request that it may see.
Registered with transformers as the implementation "neo"; without a plan it is the ordinary "sdpa".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from neo_runtime.engine.passes import Feed
from neo_runtime.engine.pool import KeyValuePool

NAME = "neo"
_PROMPT = 1 << 62  # more rows than any tree


@dataclass(frozen=True, slots=True)
class Group:
    """Rows [begin, end) of the pass, of requests in pool rows [first, last) with as many each, that see the first
    `columns` columns under an additive `mask` [requests, 1, rows × queries a key head, columns]; None: causal.
    """

    begin: int
    end: int
    first: int
    last: int
    columns: int
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`order`: the feeds as they lie in the pass; `rows` and `columns` int64 [n]: where each row's key and value go."""

    pool: KeyValuePool
    order: Sequence[Feed]
    rows: torch.Tensor
    columns: torch.Tensor
    groups: Sequence[Group]
    _places: dict[int, torch.Tensor] = field(default_factory=dict)

    def places(self, heads: int) -> torch.Tensor:
        """Where the keys of all heads go, head by head, in a layer seen as one list: int64 [heads × n]."""
        if heads not in self._places:
            first = (
                self.rows[None] * heads + torch.arange(heads, device=self.rows.device)[:, None]
            ) * self.pool.columns
            self._places[heads] = (first + self.columns[None]).flatten()
        return self._places[heads]

    @classmethod
    def of(cls, pool: KeyValuePool, feeds: Sequence[Feed], repeats: int, dtype: torch.dtype, device: Any) -> Plan:
        """`repeats`: query heads for each key head."""
        order = sorted(feeds, key=lambda feed: (_kind(feed), feed.context.row))
        groups, begin = [], 0
        for members in _neighbours(order):
            rows = sum(map(len, members))
            first, last = members[0].context.row, members[-1].context.row + 1
            columns = max(feed.start + len(feed) for feed in members)
            mask = None if _is_causal(members) else _mask(members, columns, repeats, dtype).to(device)
            groups.append(Group(begin, begin + rows, first, last, columns, mask))
            begin += rows
        sizes = np.array([feed.tokens.size for feed in order])
        kv_rows = np.repeat([feed.context.row for feed in order], sizes)
        before = np.repeat(np.array([feed.start for feed in order]) - (np.cumsum(sizes) - sizes), sizes)
        kv_columns = before + np.arange(sizes.sum())
        return cls(pool, order, torch.from_numpy(kv_rows).to(device), torch.from_numpy(kv_columns).to(device), groups)


def _neighbours(order: Sequence[Feed]) -> list[list[Feed]]:
    """Runs of single rows, and of trees of as many rows, whose requests lie side by side in the pool; every part of a
    prompt by itself.
    """
    runs: list[list[Feed]] = []
    for kind, feeds in groupby(order, key=_kind):
        before = None
        for feed in feeds:
            if before and kind != _PROMPT and before.context.row + 1 == feed.context.row:
                runs[-1].append(feed)
            else:
                runs.append([feed])
            before = feed
    return runs


def _kind(feed: Feed) -> int:
    """Rows of what can be attended to together."""
    rows = feed.tokens.size
    return _PROMPT if feed.visible is None and rows > 1 else rows


def _is_causal(members: Sequence[Feed]) -> bool:
    return len(members) == 1 and members[0].visible is None and members[0].start == 0


def _mask(members: Sequence[Feed], columns: int, repeats: int, dtype: torch.dtype) -> torch.Tensor:
    """See `Group`: 0 where a row sees a column, else minus infinity; a key head's queries lie one below the other."""
    rows = len(members[0])
    mask = np.zeros((len(members), 1, 1, rows, columns), bool)
    for number, feed in enumerate(members):
        if feed.visible is None:
            mask[number, 0, 0] = np.arange(columns) <= np.arange(feed.start, feed.start + rows)[:, None]
        else:
            mask[number, 0, 0, :, : feed.visible.shape[1]] = feed.visible
    tensor = torch.from_numpy(mask)
    if rows > 1:
        tensor = tensor.expand(-1, -1, repeats, -1, -1)
    visible = tensor.reshape(len(members), 1, -1, columns)
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -torch.inf)


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0, neo: Plan | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """transformers' attention interface: `query` [1, heads, n, width], `key` and `value` [1, key heads, n, width]."""
    if neo is None:
        found = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
        return found[0], None
    keys, values = neo.pool.layer(int(module.layer_idx), key)  # type: ignore[arg-type]
    heads, n, width = query.shape[1:]
    key_heads = key.shape[1]
    places = neo.places(key_heads)
    keys.view(-1, width).index_copy_(0, places, key.reshape(-1, width))
    values.view(-1, width).index_copy_(0, places, value.reshape(-1, width))
    out = query.new_empty(n, heads, width)
    for group in neo.groups:
        seen = (slice(group.first, group.last), slice(None), slice(0, group.columns))
        rows, requests = group.end - group.begin, group.last - group.first
        if group.mask is None:
            part = query[:, :, group.begin : group.end]
            found = scaled_dot_product_attention(
                part, keys[seen], values[seen], is_causal=rows > 1, scale=scaling, enable_gqa=heads > key_heads
            )
            out[group.begin : group.end] = found[0].transpose(0, 1)
            continue
        each = rows // requests
        part = query[0, :, group.begin : group.end].view(key_heads, -1, requests, each, width)
        part = part.permute(2, 0, 1, 3, 4).reshape(requests, key_heads, -1, width)
        attention = _products if each > 1 and _are_products_faster(query) else scaled_dot_product_attention
        found = attention(part, keys[seen], values[seen], attn_mask=group.mask, scale=scaling)
        found = found.view(requests, heads, each, width).transpose(1, 2)
        out[group.begin : group.end] = found.reshape(rows, heads, width)
    return out[None], None


def _are_products_faster(query: torch.Tensor) -> bool:
    """torch's own attention for CPUs computes in float32 whatever it is given; products of halves need not."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16


def _products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, attn_mask: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """As `scaled_dot_product_attention`, by its definition."""
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores.mul_(query.shape[-1] ** -0.5 if scale is None else scale).add_(attn_mask)
    return torch.matmul(torch.softmax(scores, -1), value)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
