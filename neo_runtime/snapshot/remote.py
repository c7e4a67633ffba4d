"""Snapshots on a store that fsspec reaches. Without a rename, the manifest goes last and comes off first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neo_runtime.errors import SnapshotError
from neo_runtime.snapshot.manifest import MANIFEST
from neo_runtime.snapshot.store import ALIASES, Progress, alias_file


class RemoteStore:
    """Two moves of the aliases at once are told apart where the store can create exclusively, as S3 can."""

    poll_s = 2.0

    def __init__(self, url: str) -> None:
        """SnapshotError where the driver for this kind of URL is not installed."""
        import fsspec  # 50 ms of imports that local snapshots do not need

        self.location = url.rstrip("/")
        try:
            # Without a cache of listings: others place snapshots and move aliases.
            self._files: Any = fsspec.url_to_fs(url, use_listings_cache=False)[0]
        except (ImportError, ValueError) as error:
            raise SnapshotError(f"snapshots at {url} cannot be reached: {error}") from error
        self._root: str = self._files._strip_protocol(self.location)

    def names(self) -> list[str]:
        return sorted(path.split("/")[-2] for path in self._files.glob(f"{self._root}/*/{MANIFEST}"))

    def manifest(self, name: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self._root}/{name}/{MANIFEST}"))
        except FileNotFoundError:
            return None

    def staging(self, near: Path) -> Path:
        return near / "snapshots"

    def place(self, staged: Path, name: str, progress: Progress) -> None:
        if self.manifest(name) is not None:
            raise SnapshotError(f"there already is a {self.location}/{name}; give the new one another --name")
        files = sorted(path for path in staged.rglob("*") if path.is_file() and path.name != MANIFEST)
        total, done = sum(path.stat().st_size for path in files), 0
        for path in files:
            target = f"{self._root}/{name}/{path.relative_to(staged).as_posix()}"
            self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._files.put_file(str(path), target)
            progress(done := done + path.stat().st_size, total)
        self._files.pipe_file(f"{self._root}/{name}/{MANIFEST}", (staged / MANIFEST).read_bytes())

    def local(self, name: str) -> Path | None:
        return None

    def fetch(self, name: str, file: str, target: Path) -> None:
        self._files.get_file(f"{self._root}/{name}/{file}", str(target))

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}/{MANIFEST}")
        self._files.rm(f"{self._root}/{name}", recursive=True)

    def alias_numbers(self) -> list[int]:
        paths = self._files.glob(f"{self._root}/{ALIASES}/*.json")
        return sorted(int(path.rsplit("/", 1)[-1].removesuffix(".json")) for path in paths)

    def alias(self, number: int) -> bytes:
        return bytes(self._files.cat_file(self._alias(number)))

    def add_alias(self, number: int, content: bytes) -> bool:
        self._files.makedirs(f"{self._root}/{ALIASES}", exist_ok=True)
        try:
            self._files.pipe_file(self._alias(number), content, mode="create")
        except FileExistsError:
            return False
        return True

    def remove_alias(self, number: int) -> None:
        self._files.rm_file(self._alias(number))

    def _alias(self, number: int) -> str:
        return f"{self._root}/{ALIASES}/{alias_file(number)}"
