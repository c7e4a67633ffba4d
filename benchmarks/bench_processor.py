"""A step of `GroundedLogitsProcessor` beside `prefix_allowed_tokens_fn` over nested dicts, same masks, no model.

python -m benchmarks.bench_processor [--items 1000000] [--text 151936] [--prompt 256] [--repeats 15]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from benchmarks.bench_trie import DictTrie, dict_trie
from benchmarks.measure import alternate, middle, report, spread
from benchmarks.synthetic import BEAMS, LEVELS, catalog, segment, space_of
from neo_runtime.model.logits_processor import GroundedLogitsProcessor
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.trie import TrieView, TypeView

KIND = "z256"


def allowed(root: DictTrie, vocabulary: Vocabulary) -> Callable[[int, torch.Tensor], list[int]]:
    """As a careful user writes it: only the end of the row is looked at, the list of text tokens is made once."""
    text = list(range(vocabulary.span_close))
    first = [vocabulary.level_tokens("item", level).start for level in range(LEVELS)]

    def callback(_: int, row: torch.Tensor) -> list[int]:
        tail = row[-LEVELS - 1 :].tolist()
        if vocabulary.span_open not in tail:
            return text
        codes = tail[tail.index(vocabulary.span_open) + 1 :]
        node = root
        for level, token in enumerate(codes):
            node = node[token - first[level]]
        return [first[len(codes)] + code for code in node] if node else [vocabulary.span_close]

    return callback


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--text", type=int, default=151_936)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space, keys = space_of(KIND), catalog(KIND, arguments.items)
    view = TrieView(1, {"item": TypeView.of_base(segment(KIND, keys, {}))})
    vocabulary = Vocabulary(arguments.text, {"item": space})
    ours = GroundedLogitsProcessor(view.restrict(), vocabulary)
    theirs = PrefixConstrainedLogitsProcessor(allowed(dict_trie(space, keys), vocabulary), BEAMS)
    rng = np.random.default_rng(1)
    prompt = rng.integers(0, arguments.text, (BEAMS, arguments.prompt))
    spans = np.array([vocabulary.span("item", codes) for codes in space.unpack(rng.choice(keys, BEAMS)).tolist()])
    rows = []
    for begun in range(LEVELS + 2):
        ids = torch.from_numpy(np.concatenate([prompt, spans[:, :begun]], axis=1))
        scores = torch.randn(BEAMS, vocabulary.size).log_softmax(-1)
        same = torch.equal(ours(ids, scores), theirs(ids, scores))
        seconds = alternate(
            {"ours": partial(ours, ids, scores), "theirs": partial(theirs, ids, scores), "copy": scores.clone},
            arguments.repeats,
            time.process_time,
        )
        where = "text" if not begun else f"{begun - 1} codes of {LEVELS}"
        ratio = f"{middle(seconds['theirs']) / middle(seconds['ours']):.1f}×"
        rows.append([where, "yes" if same else "NO", *(spread(seconds[name]) for name in seconds), ratio])
    header = ["behind", "same mask", "ours, ms", "prefix_allowed_tokens_fn, ms", "a copy of the scores, ms", "ratio"]
    note = (
        f"{arguments.items:,} items ({KIND}), {BEAMS} beams, {vocabulary.size:,} tokens, prompt of {arguments.prompt}, "
        "one thread; CPU time of one step without the model, median (min–max)."
    )
    report("processor", header, rows, note)


if __name__ == "__main__":
    main()
