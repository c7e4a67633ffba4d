"""`compiled`: how numba is to compile the inner loops of the trie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Not `fast`: infinities are scores here. Without NaN and with reordered sums, loops become vector instructions.
_FLAGS = {"nnan", "nsz", "reassoc", "contract", "arcp"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at first use; kept on disk for the next process wherever numba finds a place to write."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FLAGS, "error_model": "numpy", "boundscheck": False}
    options["_nrt"] = False  # counting references to arrays, from loop to loop, would take half of a step
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable place
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
