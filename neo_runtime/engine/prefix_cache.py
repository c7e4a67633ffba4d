"""Keys and values of what prompts began with, for others that begin alike: a radix tree over tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch


@dataclass(slots=True, eq=False)
class _Node:
    """A run of tokens below its parent, with their columns [layers × 2, heads, n, width]."""

    tokens: tuple[int, ...]
    columns: torch.Tensor
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)


class _Match(NamedTuple):
    """How many of a node's tokens are shared, at least one."""

    node: _Node
    tokens: int


class PrefixCache:
    """Up to `max_bytes`; what was not used for longest goes first, ends before beginnings. 0: remembers nothing."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.nbytes = max_bytes, 0
        self._root = _Node((), torch.empty(0), None)
        # Least recently used first, and every node before its parent: so the first is always a leaf.
        self._by_use: OrderedDict[_Node, None] = OrderedDict()

    def find(self, tokens: Sequence[int]) -> list[torch.Tensor]:
        """Columns of the longest beginning of `tokens` that is here, in parts [layers × 2, heads, n, width]."""
        path = self._path(tuple(tokens))
        self._use([match.node for match in path])
        return [match.node.columns[:, :, : match.tokens] for match in path]

    def insert(self, tokens: Sequence[int], read: Callable[[int, int], torch.Tensor]) -> None:
        """Remember `tokens`; `read(start, end)` copies the columns of a part of them. No-op for what alone would not
        fit."""
        if not self.max_bytes:
            return
        tokens = tuple(tokens)
        path = self._path(tokens)
        nodes, known = [match.node for match in path], sum(match.tokens for match in path)
        if known < len(tokens):
            columns = read(known, len(tokens))
            if columns.nbytes > self.max_bytes:
                return
            if path and path[-1].tokens < len(path[-1].node.tokens):
                nodes[-1] = self._split(*path[-1])
            leaf = _Node(tokens[known:], columns, nodes[-1] if nodes else self._root)
            nodes.append(self._attach(leaf))
            self.nbytes += columns.nbytes
        self._use(nodes)
        while self.nbytes > self.max_bytes:
            self._forget()

    def _path(self, tokens: tuple[int, ...]) -> list[_Match]:
        """The nodes along `tokens`, from the root on."""
        path, node, done = list[_Match](), self._root, 0
        while done < len(tokens) and tokens[done] in node.children:
            node = node.children[tokens[done]]
            matched = _common(node.tokens, tokens[done : done + len(node.tokens)])
            path.append(_Match(node, matched))
            done += matched
            if matched < len(node.tokens):
                break
        return path

    def _use(self, path: Sequence[_Node]) -> None:
        for node in reversed(path):
            self._by_use[node] = None
            self._by_use.move_to_end(node)

    def _split(self, node: _Node, place: int) -> _Node:
        """A new node takes what is before `place`, and is not used yet. Copies: a view would keep all alive."""
        assert node.parent is not None
        upper = self._attach(_Node(node.tokens[:place], node.columns[:, :, :place].clone(), node.parent))
        node.tokens, node.columns, node.parent = node.tokens[place:], node.columns[:, :, place:].clone(), upper
        self._attach(node)
        return upper

    def _attach(self, node: _Node) -> _Node:
        assert node.parent is not None
        node.parent.children[node.tokens[0]] = node
        return node

    def _forget(self) -> None:
        """The leaf that was not used for longest."""
        leaf, _ = self._by_use.popitem(last=False)
        assert leaf.parent is not None
        assert not leaf.children
        del leaf.parent.children[leaf.tokens[0]]
        self.nbytes -= leaf.columns.nbytes


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
