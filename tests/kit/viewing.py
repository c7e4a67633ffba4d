"""A process that opens views of a catalog all along, keeps some for a while, and says in the end what it saw.

`python -m tests.kit.viewing FOLDER '{"type": leaves}'`, until its standard input ends.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.observability.logging import configure_logging
from neo_runtime.trie import TrieView
from tests.kit.eager import make_eager

KEPT_VIEWS = 8
PAUSE_S = 0.005


class Viewer(threading.Thread):
    """Every view must have as many leaves as `population` says."""

    def __init__(self, reader: CatalogReader, population: Mapping[str, int]) -> None:
        super().__init__(name="viewer", daemon=True)
        self.reader, self._population, self.ended = reader, dict(population), threading.Event()
        self.kept: deque[TrieView] = deque(maxlen=KEPT_VIEWS)
        self.generations: set[int] = set()
        self.problems: list[str] = []

    def run(self) -> None:
        rng = random.Random(1)
        try:
            while not self.ended.wait(PAUSE_S * rng.random()):
                view = self.reader.view()
                self.generations.add(view.generation)
                leaves = {name: len(type_view) for name, type_view in view.types.items()}
                if leaves != self._population:
                    self.problems.append(f"generation {view.generation} has {leaves}")
                if rng.random() < 0.2:
                    self.kept.append(view)
        except Exception as error:
            self.problems.append(repr(error))

    def end(self) -> None:
        """Let go of everything, and move to the newest base."""
        self.ended.set()
        self.join()
        self.kept.clear()
        self.reader.rebase()
        gc.collect()


def gone_segments(folder: Path) -> list[str]:
    """Files of segments that this process still maps though they are deleted."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[-2] for line in lines if f"{folder}/segments/" in line and line.endswith("(deleted)")]


def main() -> None:
    folder, population = Path(sys.argv[1]), json.loads(sys.argv[2])
    configure_logging("warning")  # to standard error
    make_eager(aside=False)
    reader, _ = open_reader(folder)
    viewer = Viewer(reader, population)
    viewer.start()
    print("ready", flush=True)
    sys.stdin.read()
    most = len(gone_segments(folder))
    viewer.end()
    seen = {"generations": len(viewer.generations), "problems": viewer.problems[:5], "gone_segments": most}
    print(json.dumps(seen | {"gone_segments_in_the_end": gone_segments(folder)}))


if __name__ == "__main__":
    main()
