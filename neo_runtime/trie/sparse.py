"""Entries that belong to rows: ascending row numbers, one or more for a row or none; how they follow a selection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]
Selection = NDArray[np.integer]


def destinations(selection: Selection, n: int) -> Rows:
    """Where every one of n rows lies in `selection`, which names each at most once; -1 where it does not: int32 [n]."""
    places = np.full(n, -1, np.int32)
    places[selection] = np.arange(len(selection), dtype=np.int32)
    return places


def moved(rows: Rows, places: Rows) -> tuple[Rows, NDArray[np.intp] | None]:
    """The entries' rows after a selection, ascending, and the entry that each one was; None: all, as they were.

    Entries of one row stay in order. Where a selection interleaves a few sorted runs, as a merge does, the stable
    sort merges them and does not sort.
    """
    new_rows = places[rows]
    kept = None
    if (new_rows < 0).any():
        kept = np.flatnonzero(new_rows >= 0)
        new_rows = new_rows[kept]
    if (new_rows[1:] >= new_rows[:-1]).all():
        return new_rows, kept
    order = np.argsort(new_rows, kind="stable")
    return new_rows[order], order if kept is None else kept[order]


def mark(n: int, rows: Rows) -> NDArray[np.bool_]:
    """True at `rows`: bool [n]."""
    marks = np.zeros(n, bool)
    marks[rows] = True
    return marks
