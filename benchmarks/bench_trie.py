"""The trie without a model beside a dict trie, which users of `prefix_allowed_tokens_fn` write: nested dicts, one
Python look-up per beam and step, and a dense mask. `bench_static` runs the best published index beside us.

    python -m benchmarks.bench_trie [--sizes 100000,1000000] [--repeats 15]
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.measure import alternate, middle, report, spread
from benchmarks.synthetic import BEAMS, KINDS, Logits, catalog, decode, random_logits, segment, space_of
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie import Row, TrieView, TypeView
from neo_runtime.trie.delta import Changes
from neo_runtime.trie.levels import Levels
from neo_runtime.trie.step import best

DictTrie = dict[int, "DictTrie"]


def dict_trie(space: SidSpace, keys: Keys) -> DictTrie:
    root: DictTrie = {}
    for row in space.unpack(keys).tolist():
        node = root
        for code in row:
            node = node.setdefault(code, {})
    return root


def peer(root: DictTrie, logits: Logits) -> int:
    """Four levels of log-softmax, mask and top-30. Returns the number of beams."""
    nodes, totals = [root], np.zeros(1, np.float32)
    for level in logits:
        rows = level[: len(nodes)]
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


def measure(kind: str, size: int, repeats: int) -> list[object]:
    space, keys = space_of(kind), catalog(kind, size)
    view = TrieView(1, {"t": TypeView.of_base(segment(kind, keys, {}))})
    root, logits = dict_trie(space, keys), random_logits(np.random.default_rng(1), space, 1)
    fresh = int(np.setdiff1d(np.arange(2_000, dtype=np.uint64), keys)[0])
    add, remove = Changes.of({fresh: (Row("new"),)}), Changes.of({int(keys[7]): ()})
    trie, grown = view.restrict().tries["t"], view.apply(2, {"t": add}).restrict().tries["t"]
    assert decode(trie, logits)[1].tolist() == [peer(root, logits)] == [BEAMS]
    built = alternate({"ours": lambda: Levels.build(space, keys), "dict trie": lambda: dict_trie(space, keys)}, 3)
    decoded = alternate(
        {
            "ours": lambda: decode(trie, logits),
            "delta": lambda: decode(grown, logits),
            "dict": lambda: peer(root, logits),
        },
        repeats,
    )
    updated = alternate(
        {"add": lambda: view.apply(2, {"t": add}), "remove": lambda: view.apply(2, {"t": remove})}, repeats
    )
    return [
        kind, f"{size:,}", spread(built["ours"]), f"{middle(built['dict trie']) / middle(built['ours']):.0f}×",
        spread(updated["add"]), spread(updated["remove"]), spread(decoded["ours"]), spread(decoded["delta"]),
        spread(decoded["dict"]), f"{middle(decoded['dict']) / middle(decoded['ours']):.1f}×",
        f"{view.types['t'].base.nbytes() / 1e6:.1f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    rows = [measure(kind, size, arguments.repeats) for kind in KINDS for size in sizes]
    header = [
        "catalog", "items", "build, ms", "dict trie's build", "one add, ms", "one removal, ms", "whole decode, ms",
        "with a delta, ms", "dict trie's decode, ms", "ratio", "index MB",
    ]  # fmt: skip
    note = f"{BEAMS} beams, one request, random logits in place of a model; median (min–max)."
    report("trie", header, rows, note)


if __name__ == "__main__":
    main()
