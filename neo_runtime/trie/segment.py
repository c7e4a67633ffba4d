"""A base segment: the trie and the rows of one item type at one generation. Immutable, saved, and memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import CatalogError
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.columns import Columns
from neo_runtime.trie.levels import Ints, Levels
from neo_runtime.trie.predicate import Predicate
from neo_runtime.trie.predicate_json import from_json, to_json
from neo_runtime.trie.rank import Words
from neo_runtime.trie.row_filters import RowFilters
from neo_runtime.trie.rows import Ids, PackedRows, Row
from neo_runtime.trie.windows import Windows

_MAGIC = b"NEOSEG02"
_ALIGNMENT = 64


class Segment:
    """`leaf_rows` int32 [leaves + 1]: where each leaf's rows begin; None: leaf i has row i alone."""

    def __init__(
        self,
        levels: Levels,
        leaf_rows: Ints | None,
        rows: PackedRows,
        prepared: Mapping[Predicate, Words] | None = None,
    ) -> None:
        self.levels, self.leaf_rows, self.rows = levels, leaf_rows, rows
        self.filters = RowFilters(rows.columns, rows.windows, prepared or {})

    @classmethod
    def build(
        cls, space: SidSpace, keys: Keys, leaf_rows: Ints | None, rows: PackedRows, named: Iterable[Predicate] = ()
    ) -> Segment:
        """`keys` uint64 [leaves], strictly ascending. Bitmaps of the `named` predicates are made here."""
        assert len(rows) == (len(keys) if leaf_rows is None else leaf_rows[-1])
        segment = cls(Levels.build(space, keys), leaf_rows, rows)
        return cls(segment.levels, leaf_rows, rows, {p: segment.filters.words(p) for p in named})

    @classmethod
    def empty(cls, space: SidSpace) -> Segment:
        return cls.build(space, np.empty(0, np.uint64), None, PackedRows.of([]))

    @property
    def space(self) -> SidSpace:
        return self.levels.space

    @property
    def keys(self) -> Keys:
        return self.levels.keys

    def __len__(self) -> int:
        """Leaves."""
        return len(self.levels)

    def nbytes(self) -> int:
        """Bytes of the arrays that a step reads."""
        return self.levels.nbytes()

    def row(self, place: int) -> Row:
        return self.rows.row(place)

    def row_id(self, place: int) -> str:
        return self.rows.ids[place]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        levels = self.levels
        named = {f"named.{json.dumps(to_json(p))}": words for p, words in self.filters.prepared.items()}
        return {
            "keys": levels.keys,
            **{f"codes.{d}": array for d, array in enumerate(levels.codes)},
            **{f"first.{d}": array for d, array in enumerate(levels.first_child)},
            **({} if self.leaf_rows is None else {"leaf_rows": self.leaf_rows}),
            "id_offsets": self.rows.ids.offsets,
            "ids": self.rows.ids.blob,
            **{f"columns.{name}": array for name, array in self.rows.columns.arrays().items()},
            **{f"windows.{name}": array for name, array in self.rows.windows.arrays().items()},
            **named,
        }

    def save(self, path: Path) -> str:
        """Write atomically and durably; returns the SHA-256 of the content."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        contents, offset = {}, 0
        for name, array in arrays.items():
            contents[name] = {"dtype": array.dtype.str, "count": len(array), "offset": offset}
            offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        about = {"level_sizes": self.space.level_sizes, "rows": len(self.rows), "arrays": contents, "bytes": offset}
        header = json.dumps(about).encode()
        header += b" " * (-(len(_MAGIC) + 8 + len(header)) % _ALIGNMENT)
        digest = hashlib.sha256()
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            parts: list[bytes | memoryview] = [_MAGIC + len(header).to_bytes(8, "little") + header]
            for array in arrays.values():
                parts += [array.view(np.uint8).data, b"\0" * (-array.nbytes % _ALIGNMENT)]
            for part in parts:
                digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
        return digest.hexdigest()

    @classmethod
    def load(cls, path: Path) -> Segment:
        """Memory-map a saved segment. CatalogError where it is not one or is cut short; `checksum` tells the rest."""
        try:
            return cls._load(path)
        except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError) as error:
            raise CatalogError(f"{path} is not a trie segment ({error}); restore the catalog folder") from error

    @classmethod
    def _load(cls, path: Path) -> Segment:
        with path.open("rb") as file:
            is_segment = file.read(len(_MAGIC)) == _MAGIC
            text = file.read(int.from_bytes(file.read(8), "little")) if is_segment else b""
            if not is_segment:
                raise CatalogError(f"{path} is not a trie segment; remove the catalog folder and load it again")
            header = json.loads(text)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
        if size != start + header["bytes"]:
            wanted = start + header["bytes"]
            raise CatalogError(f"{path} has {size} bytes instead of {wanted}; restore the catalog folder")
        # Copy on write, though nobody writes: to the kernel, read-only arrays would be other types to compile for.
        mapped = np.memmap(path, np.uint8, "c", start).view(np.ndarray) if header["bytes"] else np.empty(0, np.uint8)
        arrays = {name: _part(mapped, entry) for name, entry in header["arrays"].items()}
        space, n = SidSpace(tuple(header["level_sizes"])), int(header["rows"])
        codes = tuple(arrays[f"codes.{d}"] for d in range(space.levels))
        first = tuple(arrays[f"first.{d}"] for d in range(space.levels))
        rows = PackedRows(
            Ids(arrays["id_offsets"], arrays["ids"]),
            Columns.from_arrays(n, _group(arrays, "columns.")),
            Windows.from_arrays(n, _group(arrays, "windows.")),
        )
        prepared = {from_json(json.loads(text)): words for text, words in _group(arrays, "named.").items()}
        return cls(Levels(space, arrays["keys"], codes, first), arrays.get("leaf_rows"), rows, prepared)


def _group(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _part(mapped: NDArray[np.uint8], entry: Mapping[str, object]) -> NDArray[Any]:
    dtype, count, offset = np.dtype(str(entry["dtype"])), int(str(entry["count"])), int(str(entry["offset"]))
    if min(count, offset) < 0 or offset + count * dtype.itemsize > len(mapped):
        raise ValueError("an array lies outside of the file")
    return mapped[offset : offset + count * dtype.itemsize].view(dtype)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
