"""What a worker answers from: the live catalog, or a snapshot, and the swap between them under running answers.

Looks like a CatalogReader to the engine. A swap moves a pointer; the reader before it stays open until every answer
that began before the swap has ended, since its spans are resolved by the reader that they were decoded on.
Thread-safe; holds no transaction.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from neo_runtime.catalog.item import ItemRecord
from neo_runtime.catalog.reader import CatalogReader, Pinned
from neo_runtime.snapshot.aliases import Target
from neo_runtime.types import ItemKey


@dataclass(frozen=True, slots=True)
class Source:
    """A reader, the alias target that it serves, and the name that responses carry."""

    target: Target
    name: str
    reader: CatalogReader
    file: int
    """Inode of `data.mdb`, to see when a restored catalog takes the place of the live one."""

    @property
    def is_replaced(self) -> bool:
        path = self.reader.store.path / "data.mdb"
        return path.exists() and path.stat().st_ino != self.file


class Mirror(Protocol):
    """An engine in another process that serves the same."""

    def open(self, source: Source) -> None:
        """Be ready to serve it. Raises why not."""
        ...

    def serve(self, source: Source) -> None:
        """To whatever it is asked from now on."""
        ...

    def close(self, source: Source) -> None: ...


class ServedCatalog:
    """Begins with `source`, and owns every source that it is given."""

    def __init__(self, source: Source) -> None:
        self._lock = threading.Lock()
        self._current = source
        self._epoch = 0
        self._holders: Counter[int] = Counter()
        self._retired: list[tuple[int, Source]] = []
        self.mirrors: list[Mirror] = []

    @property
    def source(self) -> Source:
        """What the next answer is made from. To use its reader, `hold` it."""
        return self._current

    @contextmanager
    def hold(self) -> Iterator[Source]:
        """For the length of an answer: whatever is served meanwhile stays open. Yields what is served now."""
        with self._lock:
            epoch, source = self._epoch, self._current
            self._holders[epoch] += 1
        try:
            yield source
        finally:
            self._release(epoch)

    def pin(self, keys: Collection[ItemKey]) -> Pinned:
        """As a CatalogReader does, with the name of what is served."""
        with self.hold() as source:
            return replace(source.reader.pin(keys), snapshot=source.name)

    def items(self, keys: Collection[ItemKey], snapshot: str) -> Mapping[ItemKey, ItemRecord]:
        """Records as of the source that a held answer was decoded on."""
        with self._lock:
            sources = [self._current, *(source for _, source in reversed(self._retired))]
        held = next((source for source in sources if source.name == snapshot), None)
        assert held is not None, f"{snapshot} is closed while an answer from it is held"
        return held.reader.items(keys)

    def swap(self, source: Source) -> None:
        """Serve `source` from now on. Closes it and raises where a mirror cannot serve it."""
        told: list[Mirror] = []
        try:
            for mirror in self.mirrors:
                mirror.open(source)
                told.append(mirror)
        except BaseException:
            for mirror in told:
                mirror.close(source)
            source.reader.store.close()
            raise
        with self._lock:
            self._replace(source)

    def swap_back(self, target: Target) -> bool:
        """Serve what is still open from before. False: it is not."""
        with self._lock:
            source = next((s for _, s in self._retired if s.target == target and not s.is_replaced), None)
            if source is not None:
                self._replace(source)
        return source is not None

    def _replace(self, source: Source) -> None:
        assert source is not self._current
        self._retired = [(epoch, old) for epoch, old in self._retired if old is not source]
        self._retired.append((self._epoch, self._current))
        self._current, self._epoch = source, self._epoch + 1
        for mirror in self.mirrors:  # before an answer can hold the new epoch: it must not be decoded on what may close
            mirror.serve(source)

    def close(self) -> None:
        """When no answer runs any more."""
        for source in (self._current, *(source for _, source in self._retired)):
            source.reader.store.close()

    def _release(self, epoch: int) -> None:
        with self._lock:
            self._holders[epoch] -= 1
            if not self._holders[epoch]:
                del self._holders[epoch]

    def close_unheld(self) -> None:
        """What was served before, and no answer can need any more. Called by the thread that also opens sources: LMDB
        opens a file once in a process, and unmapping a large one is no work for a thread that answers."""
        with self._lock:
            oldest = min(self._holders, default=self._epoch)
            unheld = [source for epoch, source in self._retired if epoch < oldest]
            self._retired = [(epoch, source) for epoch, source in self._retired if epoch >= oldest]
        for source in unheld:
            for mirror in self.mirrors:
                mirror.close(source)
            source.reader.store.close()
