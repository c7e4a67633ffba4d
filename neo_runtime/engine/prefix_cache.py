"""Keys and values of what prompts began with, for others that begin alike: a radix tree over tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(slots=True, eq=False)
class _Node:
    """A run of tokens below its parent, with their columns [layers × 2, heads, n, width]."""

    tokens: tuple[int, ...]
    columns: torch.Tensor
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    used: int = 0


class PrefixCache:
    """Up to `max_bytes`; what was not used for longest goes first, ends before beginnings. 0: remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.nbytes = max_bytes, 0
        self.hit_tokens = self.asked_tokens = 0
        self._root = _Node((), torch.empty(0), None)
        self._leaves: set[_Node] = set()
        self._clock = itertools.count(1)

    def find(self, tokens: Sequence[int]) -> list[torch.Tensor]:
        """Columns of the longest beginning of `tokens` that is here, in parts [layers × 2, heads, n, width]."""
        parts = [node.columns[:, :, :matched] for node, matched in self._walk(tuple(tokens))]
        self.asked_tokens += len(tokens)
        self.hit_tokens += sum(part.shape[2] for part in parts)
        return parts

    def insert(self, tokens: Sequence[int], read: Callable[[int, int], torch.Tensor]) -> None:
        """Remember `tokens`; `read(start, end)` copies the columns of a part of them."""
        if not self.max_bytes:
            return
        tokens = tuple(tokens)
        node, known = self._root, 0
        for node, matched in self._walk(tokens):
            known += matched
            if matched < len(node.tokens):
                self._split(node, matched)
        if known == len(tokens):
            return
        columns = read(known, len(tokens))
        if columns.nbytes > self.max_bytes:
            return
        leaf = _Node(tokens[known:], columns, node, used=next(self._clock))
        node.children[tokens[known]] = leaf
        self._leaves.discard(node)
        self._leaves.add(leaf)
        self.nbytes += columns.nbytes
        while self.nbytes > self.max_bytes:
            self._forget(min(self._leaves, key=lambda node: node.used))

    def _walk(self, tokens: tuple[int, ...]) -> Iterator[tuple[_Node, int]]:
        """The nodes along `tokens`, each with how many of its own they share, at least one."""
        node, done, now = self._root, 0, next(self._clock)
        while done < len(tokens) and tokens[done] in node.children:
            node = node.children[tokens[done]]
            matched = _common(node.tokens, tokens[done : done + len(node.tokens)])
            node.used = now
            yield node, matched
            done += matched
            if matched < len(node.tokens):
                return

    def _split(self, node: _Node, place: int) -> None:
        """`node` ends before `place`; what follows becomes its only child. Copies: a view would keep both alive."""
        rest = _Node(node.tokens[place:], node.columns[:, :, place:].clone(), node, node.children, node.used)
        for child in rest.children.values():
            child.parent = rest
        if node in self._leaves:
            self._leaves.discard(node)
            self._leaves.add(rest)
        node.tokens, node.columns = node.tokens[:place], node.columns[:, :, :place].clone()
        node.children = {rest.tokens[0]: rest}

    def _forget(self, leaf: _Node) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.tokens[0]]
        self._leaves.discard(leaf)
        self.nbytes -= leaf.columns.nbytes
        if parent is not self._root and not parent.children:
            self._leaves.add(parent)


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
