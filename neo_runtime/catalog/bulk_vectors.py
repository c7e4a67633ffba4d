"""Embeddings in files, by the numbers of their lines: given ones where they lie, the others in a file of our own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neo_runtime.sid.codebook import Floats


class Rows:
    """The rows of a .npy file, read and not mapped: pages that a map has shown count as memory until it is closed.

    ValueError or OSError where the file does not hold float32 [n, dimension].
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
        if mapped.dtype != np.float32 or mapped.ndim != 2 or not mapped.flags.c_contiguous:
            raise ValueError(f"it holds {mapped.dtype} {list(mapped.shape)}, not float32 [n, dimension], row by row")
        self.path, self._start, self._shape = path, mapped.offset, mapped.shape

    def __len__(self) -> int:
        return int(self._shape[0])

    def begin(self, row: int) -> int:
        """Where the row begins in the file."""
        return int(self._start + 4 * row * self._shape[1])

    def read(self, first: int, count: int) -> Floats:
        width = int(self._shape[1])
        found: Floats = np.fromfile(self.path, np.float32, count * width, offset=self.begin(first))
        return found.reshape(count, width)


class Vectors:
    """Runs of lines whose embeddings lie one behind the other. Numbers ascend from run to run."""

    def __init__(self, path: Path, dimension: int, rows: Rows | None) -> None:
        self._files, self._width, self._rows = ExitStack(), 4 * dimension, rows
        self._own = self._files.enter_context(path.open("w+b"))
        self._given = self._files.enter_context(rows.path.open("rb")) if rows else self._own
        self._runs: list[tuple[int, int, int]] = []  # number of the first line, its file, where in it

    def add(self, number: int, embeddings: Floats | None, places: NDArray[np.int64]) -> None:
        """Of lines from `number` on. None: they are the given rows at these ascending `places`."""
        if not len(places):
            return
        if embeddings is None:
            assert self._rows is not None
            first, count = int(places[0]), int(places[-1] - places[0]) + 1
            if count == len(places):
                self._runs.append((number, self._given.fileno(), self._rows.begin(first)))
                return
            embeddings = self._rows.read(first, count)[places - first]
        self._runs.append((number, self._own.fileno(), self._own.tell()))
        self._own.write(np.ascontiguousarray(embeddings, np.float32).data)

    def read(self, numbers: list[int]) -> Floats:
        """Mapped only meanwhile."""
        self._own.flush()
        firsts, files, begins = np.array(self._runs, np.int64).reshape(-1, 3).T
        wanted, width = np.array(numbers, np.int64), self._width // 4
        runs = firsts.searchsorted(wanted, "right") - 1
        places = begins[runs] // 4 + width * (wanted - firsts[runs])
        found = np.empty((len(wanted), width), np.float32)
        for file in (self._own, self._given):
            some = np.flatnonzero(files[runs] == file.fileno())
            if len(some):
                found[some] = np.memmap(file, np.float32, "r")[places[some, None] + np.arange(width)]
        return found

    def close(self) -> None:
        self._files.close()
