"""Memory in a process that answers: what one pass freed is there for the next, what start-up made is not looked through
again and again.
"""

from __future__ import annotations

import ctypes
import gc
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's mallopt
_LARGEST_BLOCK, _NEVER = 2**30, 2**31 - 1


def keep() -> None:
    """Call before anything large is loaded. Without it glibc gives every large tensor back to the system as it is
    freed, and each pass through a model touches thousands of new pages. Nothing happens where there is no glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_ARENA_MAX, 1)  # a heap of the engine's thread alone would hold no block of 64 MiB


def settle() -> None:
    """Call once all is loaded. A full collection takes 0.2 s with torch and transformers in memory, and would fall into
    a stream or a batch every few seconds; afterwards only what is younger than this call is looked through.
    """
    gc.collect()
    gc.freeze()
