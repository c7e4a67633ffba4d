"""The garbage collector in a process that answers: what start-up made is not looked through again and again."""

from __future__ import annotations

import gc


def settle() -> None:
    """Call once all is loaded. A full collection takes 0.2 s with torch and transformers in memory, and would fall into
    a stream or a batch every few seconds; afterwards only what is younger than this call is looked through.
    """
    gc.collect()
    gc.freeze()
