"""Stores in processes of their own: `python -m tests.kit.stores ROLE FOLDER …`. What they find is one JSON line each.

A generation writes its number into every row, so a state is whole exactly if all of its rows agree.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.store import Store, accept_copy
from neo_runtime.catalog.tables import Transaction
from neo_runtime.errors import CatalogError, StorageError
from tests.kit import dump

ROWS = 300
_LONG = "x" * 450


def start(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.kit.stores", role, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline(), process.communicate()


def finished(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """What it found; fails where it did not come to its end."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, (process.returncode, errors[-2_000:])
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def put(txn: Transaction, generation: int, rows: int = ROWS) -> None:
    for row in range(rows):
        txn.put_offset(f"{row:06}{_LONG}", 0, generation)


def generation_of(store: Store) -> int:
    """AssertionError where rows of two generations lie side by side."""
    with store.read() as txn:
        found = set(txn.offsets().values())
    assert len(found) <= 1, f"generations {sorted(found)} side by side"
    return found.pop() if found else 0


def write(folder: Path, map_size: str, rows_more: str, last: str) -> None:
    """Commit generations up to `last`, each with `rows_more` rows more than the one before."""
    with closing(Store(folder, writable=True, map_size=int(map_size))) as store:
        for generation in range(1, int(last) + 1):
            store.transact(lambda txn, n=generation: put(txn, n, ROWS + n * int(rows_more)))  # type: ignore[misc]
        tell(map_bytes=store.usage().map_bytes)


def follow(folder: Path, last: str) -> None:
    """Read every row of what is there, until generation `last` is."""
    with closing(Store(folder, writable=False)) as store:
        maps, seen, reads = {store.usage().map_bytes}, 0, 0
        tell(ready=True)
        while seen < int(last):
            found = generation_of(store)
            assert found >= seen
            seen, reads = found, reads + 1
            maps.add(store.usage().map_bytes)
        tell(reads=reads, maps=len(maps))


def hold(folder: Path) -> None:
    """Keep a read transaction open."""
    with Store(folder, writable=False).read():
        tell(ready=True)
        time.sleep(600)


def open_each(*folders: Path) -> None:
    """Open files that may be damaged, as reader and as writer, and read all that they hold."""
    for folder in folders:
        for writable in (False, True):
            try:
                with closing(Store(folder, writable=writable)) as store:
                    rows = {name: len(found) for name, found in dump.tables(store).items()}
                    tell(folder=folder.name, rows=rows, values=sorted({*_offsets(store)}))
            except CatalogError as error:
                tell(folder=folder.name, refused=str(error))


def _offsets(store: Store) -> list[int]:
    with store.read() as txn:
        return list(txn.offsets().values())


def accept_each(*folders: Path) -> None:
    """Files that were refused, read all the same: what would have come of it."""
    for folder in folders:
        accept_copy(folder)
    open_each(*folders)


def compact_without_room(folder: Path) -> None:
    """Compact where no file can become longer than a few bytes, then where it can."""
    with closing(Catalog.open(folder)) as catalog:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            catalog.compact()
        except StorageError as error:
            tell(refused=str(error), files=sorted(path.name for path in (folder / "segments").iterdir()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        tell(generation=catalog.compact(), files=sorted(path.name for path in (folder / "segments").iterdir()))


def tell(**found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


ROLES: dict[str, Callable[..., None]] = {
    "write": write, "follow": follow, "hold": hold, "open": open_each, "accept": accept_each,
    "compact-without-room": compact_without_room,
}  # fmt: skip

if __name__ == "__main__":
    ROLES[sys.argv[1]](*(Path(argument) if "/" in argument else argument for argument in sys.argv[2:]))
