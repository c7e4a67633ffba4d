"""The network of SASRec: a causal transformer over item embeddings, whose rows also score the next item."""

from __future__ import annotations

from torch import Tensor, nn

WIDTH, BLOCKS, HEADS, DROPOUT = 64, 2, 1, 0.2
LONGEST = 50


class Block(nn.Module):
    """Attention to what came before, then two layers for each position; norms stand before each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.projections, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, WIDTH))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states: Tensor) -> Tensor:
        """[rows, places, WIDTH]. Rows are padded on the right, so that no place before the padding sees it."""
        rows, places, _ = states.shape
        parts = self.projections(self.attention_norm(states)).view(rows, places, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        states = states + self.dropout(self.output(mixed.transpose(1, 2).reshape(rows, places, WIDTH)))
        result: Tensor = states + self.dropout(self.feed(self.feed_norm(states)))
        return result


class SasRecNetwork(nn.Module):
    """Item `i` has row `i`; the last row is the padding's."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.dropout = nn.LayerNorm(WIDTH), nn.Dropout(DROPOUT)

    @property
    def padding(self) -> int:
        return self.items.num_embeddings - 1

    def forward(self, items: Tensor) -> Tensor:
        """int64 [rows, places], padded on the right → states [rows, places, WIDTH]."""
        states = self.dropout(self.items(items) * WIDTH**0.5 + self.places.weight[: items.shape[1]])
        for block in self.blocks:
            states = block(states)
        result: Tensor = self.norm(states)
        return result

    def logits(self, states: Tensor) -> Tensor:
        """Of every item."""
        return states @ self.items.weight[:-1].T
