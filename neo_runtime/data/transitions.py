"""How often one item of a row comes after another: what count models rank by, and what users say of items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.data.ragged import Ragged


def transitions(rows: Ragged, items: int, weights: NDArray[np.float32]) -> Any:
    """CSR [items, items]: for each pair (before, after) the sum of `weights[distance - 1]`."""
    from scipy import sparse

    total = sparse.csr_matrix((items, items), dtype=np.float32)
    for distance, weight in enumerate(weights, start=1):
        before = np.flatnonzero(rows.ages >= distance)
        pairs = (rows.values[before], rows.values[before + distance])
        total += sparse.csr_matrix((np.full(len(before), weight), pairs), shape=(items, items), dtype=np.float32)
    return total
