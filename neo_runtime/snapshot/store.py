"""Where snapshots lie: a folder of this machine, or anything that fsspec reaches (s3://, gs://, memory://).

Both promise the same: a snapshot appears whole or not at all, and the next move of the aliases is taken once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from neo_runtime.errors import SnapshotError
from neo_runtime.snapshot.manifest import MANIFEST
from neo_runtime.trie.segment import sync_folder

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes to do."""

ALIASES = "aliases"
_STAGED, _REMOVED = ".staged-", ".removed-"


class SnapshotStore(Protocol):
    """Names are folders below one root; aliases are numbered files, of which the newest counts."""

    location: str
    poll_s: float
    """How often a worker may look for a new alias."""

    def names(self) -> list[str]: ...

    def manifest(self, name: str) -> bytes | None:
        """None where there is no whole snapshot of that name."""
        ...

    def staging(self, near: Path) -> Path:
        """A folder whose content can be placed cheaply; `near` is the catalog that is copied."""
        ...

    def place(self, staged: Path, name: str, progress: Progress) -> None:
        """Make a staged folder, its manifest included, a snapshot. SnapshotError where there is one."""
        ...

    def local(self, name: str) -> Path | None:
        """Its folder, where it lies on this machine."""
        ...

    def fetch(self, name: str, file: str, target: Path) -> None:
        """Copy one file."""
        ...

    def remove(self, name: str) -> None: ...

    def alias_numbers(self) -> list[int]:
        """Ascending."""
        ...

    def alias(self, number: int) -> bytes: ...

    def add_alias(self, number: int, content: bytes) -> bool:
        """False where the number is taken."""
        ...

    def remove_alias(self, number: int) -> None: ...


def open_store(location: str) -> SnapshotStore:
    """A path, or the URL of any store that fsspec knows."""
    if location.startswith("file://"):
        location = location.removeprefix("file://")
    if "://" not in location:
        return LocalStore(Path(location))
    from neo_runtime.snapshot.remote import RemoteStore

    return RemoteStore(location)


class LocalStore:
    """Placed by a rename, moved by a hard link: both happen or do not, and two at once are told apart."""

    poll_s = 0.2

    def __init__(self, root: Path) -> None:
        self._root, self.location = root, str(root)

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self._root.glob(f"[!.]*/{MANIFEST}"))

    def manifest(self, name: str) -> bytes | None:
        try:
            return (self._root / name / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def staging(self, near: Path) -> Path:
        return self._root

    def place(self, staged: Path, name: str, progress: Progress) -> None:
        target = self._root / name
        try:
            staged.rename(target)
        except OSError as error:
            raise SnapshotError(f"there already is a {target}; give the new one another --name") from error
        sync_folder(self._root)

    def local(self, name: str) -> Path | None:
        return self._root / name

    def fetch(self, name: str, file: str, target: Path) -> None:
        shutil.copyfile(self._root / name / file, target)

    def remove(self, name: str) -> None:
        doomed = self._root / f"{_REMOVED}{name}-{uuid.uuid4().hex[:8]}"
        (self._root / name).rename(doomed)
        shutil.rmtree(doomed)

    def alias_numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in (self._root / ALIASES).glob("[0-9]*.json"))

    def alias(self, number: int) -> bytes:
        return self._alias(number).read_bytes()

    def add_alias(self, number: int, content: bytes) -> bool:
        final = self._alias(number)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{uuid.uuid4().hex}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, final)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        sync_folder(final.parent)
        return True

    def remove_alias(self, number: int) -> None:
        self._alias(number).unlink(missing_ok=True)

    def _alias(self, number: int) -> Path:
        return self._root / ALIASES / alias_file(number)


def alias_file(number: int) -> str:
    return f"{number:010d}.json"


@contextmanager
def staged_folder(parent: Path) -> Iterator[Path]:
    """A folder that goes away at the end, or, after a crash, when the next one is made."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    name = uuid.uuid4().hex[:12]
    new, folder = parent / f".new-{name}", parent / f"{_STAGED}{name}"
    new.mkdir()
    descriptor = os.open(new, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.rename(folder)  # only now: another one's sweep takes what has the name and no lock
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove what a crash left half copied or half removed. A folder at work is locked by its process."""
    for folder in [*parent.glob(f"{_STAGED}*"), *parent.glob(f"{_REMOVED}*")]:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
