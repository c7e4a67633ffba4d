"""Fold the log into new base segments in a process of its own, so that a large catalog's events do not wait for it.

The child reads one committed generation and writes segment files; the writer then names them as the base, in a
transaction. Killed at any instant, either of them leaves files that no base names, which the next start removes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.catalog.records import Base
from neo_runtime.errors import StorageError
from neo_runtime.observability.logging import configure_logging
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.predicate_json import from_json, to_json

NICENESS = 10  # on a busy machine events and answers go first


def write_segments(reader: CatalogReader, named: Iterable[Predicate]) -> Base:
    """The newest generation as segment files beside the present ones."""
    view, folder = reader.view(), reader.store.path / "segments"
    files = {name: f"{name}-{view.generation}.seg" for name in view.types}
    sums = {name: type_view.compacted(named).save(folder / files[name]) for name, type_view in view.types.items()}
    return Base(view.generation, files, sums)


class Compaction:
    """One run of the child."""

    def __init__(self, path: Path, named: Iterable[Predicate]) -> None:
        arguments = [sys.executable, "-m", "neo_runtime.catalog.compaction", str(path)]
        arguments.append(json.dumps([to_json(predicate) for predicate in named]))
        pipe = subprocess.PIPE  # the input's end is how the child learns that its writer was killed
        self._process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def result(self) -> Base:
        """StorageError where the child gave up: most likely the disk is full."""
        output, errors = self._process.communicate()
        if self._process.returncode:
            said = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise StorageError(f"segments cannot be written: {said[0]}")
        return Base(**json.loads(output))

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def _end_with_the_writer() -> None:
    """Else two children could write segments of one generation: this one, and that of the next writer."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main() -> None:
    from neo_runtime.catalog.catalog import open_reader

    configure_logging("warning")  # to standard error: standard output is the result's
    os.nice(NICENESS)
    threading.Thread(target=_end_with_the_writer, daemon=True).start()
    reader, _ = open_reader(Path(sys.argv[1]))
    base = write_segments(reader, [from_json(tree) for tree in json.loads(sys.argv[2])])
    sys.stdout.write(json.dumps({"generation": base.generation, "files": base.files, "checksums": base.checksums}))


if __name__ == "__main__":
    main()
