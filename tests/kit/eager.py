"""The command line with a compaction every few changes: what takes a large catalog otherwise happens to a small one.

`EAGER_COMPACTION=aside`: in a process of its own.
"""

from __future__ import annotations

import os

from neo_runtime.catalog import catalog, reader
from neo_runtime.cli.main import main

COMPACT_LEAVES, REBASE_LEAVES = 40, 16


def make_eager(*, aside: bool) -> None:
    """For this process."""
    catalog.COMPACT_LEAVES, reader._REBASE_LEAVES = COMPACT_LEAVES, REBASE_LEAVES
    if aside:
        catalog.COMPACT_INLINE_LEAVES = 0


if __name__ == "__main__":
    make_eager(aside=os.environ.get("EAGER_COMPACTION") == "aside")
    main()
