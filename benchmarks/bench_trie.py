"""The trie without a model: build, one update, one step, a whole constrained decode, beside a dict trie.

The dict trie is what `prefix_allowed_tokens_fn` users write: nested dicts, one Python look-up per beam and step.

    python -m benchmarks.bench_trie [--sizes 100000,1000000] [--repeats 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.measure import alternate, middle, report, spread
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie import LiveTrie, Segment, TrieView, TypeView
from neo_runtime.trie.items import PackedItems
from neo_runtime.trie.step import best, child_scores

BEAMS, LEVELS = 30, 4
DictTrie = dict[int, "DictTrie"]


def catalog(kind: str, size: int) -> tuple[SidSpace, Keys]:
    """`u1024`: uniform codes. `z256`: skewed as a residual quantizer's are."""
    rng, codes = np.random.default_rng(0), 1024 if kind == "u1024" else 256
    space = SidSpace((codes,) * LEVELS)
    keys = np.empty(0, np.uint64)
    while len(keys) < size:
        if kind == "u1024":
            drawn = rng.integers(codes, size=(size, LEVELS))
        else:
            drawn = np.stack(
                [rng.zipf(1.3, 4 * size).clip(1, 1 << 40)[:size] * (7 * m + 1) % codes for m in range(LEVELS)], 1
            )
            drawn[:, 2:] = (drawn[:, 2:] + rng.integers(codes, size=(size, 2))) % codes
        keys = np.unique(np.concatenate([keys, space.pack(drawn)]))
    return space, np.sort(rng.permutation(keys)[:size])


def dict_trie(space: SidSpace, keys: Keys) -> DictTrie:
    root: DictTrie = {}
    for row in space.unpack(keys).tolist():
        node = root
        for code in row:
            node = node.setdefault(code, {})
    return root


def ours(trie: LiveTrie, logits: list[np.ndarray]) -> int:  # type: ignore[type-arg]
    """Four levels of log-softmax, constraint and top-30, as in the engine. Returns the number of beams."""
    nodes, totals = trie.root(), np.zeros(1, np.float32)
    for level in range(LEVELS):
        rows = logits[level][: len(totals)]
        top = rows.max(1, keepdims=True)
        scores = rows - (top + np.log(np.exp(rows - top).sum(1, keepdims=True)))
        children = trie.children(level, nodes)
        new = child_scores(children, scores, totals)
        chosen = best(new, BEAMS)
        nodes, totals = children.nodes.take(chosen), new[chosen]
    return len(totals)


def peer(root: DictTrie, logits: list[np.ndarray]) -> int:  # type: ignore[type-arg]
    """The same with a dict trie and a dense mask, as a logits processor does it."""
    nodes, totals = [root], np.zeros(1, np.float32)
    for level in range(LEVELS):
        rows = logits[level][: len(nodes)]
        top = rows.max(1, keepdims=True)
        scores = rows - (top + np.log(np.exp(rows - top).sum(1, keepdims=True)))
        mask = np.full_like(scores, -np.inf)
        for row, node in enumerate(nodes):
            mask[row, list(node)] = 0
        new = (scores + mask + totals[:, None]).ravel()
        chosen = best(new, BEAMS)
        chosen = chosen[np.isfinite(new[chosen])]
        width = scores.shape[1]
        nodes = [nodes[i // width][i % width] for i in chosen.tolist()]
        totals = new[chosen]
    return len(totals)


def measure(kind: str, size: int, repeats: int) -> list[list[object]]:
    space, keys = catalog(kind, size)
    items = PackedItems.of((str(number),) for number in range(size))
    view = TrieView(1, {"t": TypeView.of_base(Segment.build(space, keys, items))})
    fresh = int(np.setdiff1d(np.arange(2_000, dtype=np.uint64), keys)[0])
    changed = view.apply(2, {"t": {fresh: ("new",)}})
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=(BEAMS, space.level_sizes[0])).astype(np.float32) for _ in range(LEVELS)]
    trie, delta_trie = view.restrict().tries["t"], changed.restrict().tries["t"]
    root = dict_trie(space, keys)
    assert ours(trie, logits) == peer(root, logits) == BEAMS
    builds: dict[str, Callable[[], object]] = {
        "ours": lambda: Segment.build(space, keys, items), "dict trie": lambda: dict_trie(space, keys),
    }  # fmt: skip
    built = alternate(builds, 3)
    decoded = alternate(
        {
            "ours": lambda: ours(trie, logits),
            "with a delta": lambda: ours(delta_trie, logits),
            "dict trie": lambda: peer(root, logits),
        },
        repeats,
    )  # fmt: skip
    updated = alternate(
        {
            "add": lambda: view.apply(2, {"t": {fresh: ("new",)}}),
            "remove": lambda: view.apply(2, {"t": {int(keys[7]): ()}}),
        },
        repeats,
    )
    nodes, second = trie.root(), None
    for level in range(2):
        second = trie.children(level, nodes)
        nodes = second.nodes.take(np.arange(0, len(second.code), max(1, len(second.code) // BEAMS))[:BEAMS])
    step = alternate({"step": lambda: trie.children(2, nodes)}, repeats)["step"]
    ratio = middle(decoded["dict trie"]) / middle(decoded["ours"])
    return [
        [kind, f"{size:,}", spread(built["ours"]), f"{middle(built['dict trie']) / middle(built['ours']):.0f}×",
         spread(updated["add"]), spread(updated["remove"]), spread(step), spread(decoded["ours"]),
         spread(decoded["with a delta"]), spread(decoded["dict trie"]), f"{ratio:.1f}×",
         f"{view.types['t'].base.nbytes() / 1e6:.1f}"],
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    rows = [
        row
        for kind in ("u1024", "z256")
        for size in map(int, arguments.sizes.split(","))
        for row in measure(kind, size, arguments.repeats)
    ]
    header = [
        "catalog", "items", "build, ms", "dict trie's build", "one add, ms", "one removal, ms", "step at depth 2, ms",
        "whole decode, ms", "with a delta, ms", "dict trie's decode, ms", "ratio", "index MB",
    ]  # fmt: skip
    note = f"{BEAMS} beams, {LEVELS} levels, one request, random logits in place of a model; median (min–max)."
    report("trie", header, rows, note)


if __name__ == "__main__":
    main()
