"""The compiled loop of `learned`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled


@compiled
def rescore(nodes: Any, first_child: Any, codes: Any, bounds: Any, logits: Any, norms: Any, out: Any) -> None:
    """See `learned.numpy_rescore`, which it equals within 1e-6."""
    for row in range(len(nodes)):
        node = nodes[row]
        if node < 0:
            out[row, :] = norms[row]
            continue
        children, line = codes[first_child[node] : first_child[node + 1]], logits[row]
        top = line[children[0]]
        for code in children:
            top = max(top, line[code])
        total = np.float32(0)
        for code in children:
            total += np.exp(line[code] - top)
        out[row, :] = top + np.log(total) - np.log(np.float32(bounds[node + 1] - bounds[node]))
        for code in children:
            out[row, code] = line[code]
