"""Level arrays over the sorted SIDs of one item type: immutable, built in one pass, saved and memory-mapped.

At depth d a node is a prefix of d codes; its number is its place among all prefixes of that length, in key order.
`codes[d]` holds the last code of every node of depth d + 1, `first_child[d]` where the children of every node of
depth d begin. So the children of a node, and the leaves below it, are one contiguous run.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import CatalogError
from neo_runtime.sid.space import Keys, SidSpace
from neo_runtime.trie.items import PackedItems

Ints = NDArray[np.int32]
_MAGIC = b"NEOSEG01"
_ALIGNMENT = 64


class Segment:
    """The trie of `keys`, with the items of every leaf."""

    def __init__(
        self,
        space: SidSpace,
        keys: Keys,
        codes: tuple[NDArray[np.uint16], ...],
        first_child: tuple[Ints, ...],
        items: PackedItems,
    ) -> None:
        self.space, self.keys, self.codes, self.first_child, self.items = space, keys, codes, first_child, items

    @classmethod
    def build(cls, space: SidSpace, keys: Keys, items: PackedItems) -> Segment:
        """`keys` uint64 [n], strictly ascending; `items` has n lists."""
        assert len(items.offsets) == len(keys) + 1
        codes, first_child = [], []
        current = keys
        for bits in reversed(space.bits):
            codes.append((current & np.uint64((1 << bits) - 1)).astype(np.uint16))
            parents = current >> np.uint64(bits) if bits < 64 else np.zeros_like(current)
            is_first = np.ones(len(current), bool)
            np.not_equal(parents[1:], parents[:-1], out=is_first[1:])
            starts = np.flatnonzero(is_first)
            first_child.append(np.append(starts, len(current)).astype(np.int32))
            current = parents[starts]
        if not len(keys):
            first_child[-1] = np.zeros(2, np.int32)  # the root is there even where nothing is below it
        return cls(space, keys, tuple(codes[::-1]), tuple(first_child[::-1]), items)

    @classmethod
    def empty(cls, space: SidSpace) -> Segment:
        return cls.build(space, np.empty(0, np.uint64), PackedItems.of([]))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def _leaf_bounds(self) -> tuple[NDArray[np.integer], ...]:
        bounds: list[NDArray[np.integer]] = [np.arange(len(self) + 1)]
        for children in reversed(self.first_child):
            bounds.append(bounds[-1][children])
        return tuple(bounds[::-1])

    def leaf_bounds(self, depth: int) -> NDArray[np.integer]:
        """Node p of `depth` covers leaves [bounds[p], bounds[p + 1])."""
        return self._leaf_bounds[depth]

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Leaf of every key, -1 where it is not there: int64 [n]."""
        places = np.searchsorted(self.keys, keys)
        found = places < len(self)
        found[found] = self.keys[places[found]] == keys[found]
        return np.where(found, places, -1)

    def nbytes(self) -> int:
        """Bytes of the arrays that a step reads."""
        return sum(array.nbytes for array in self.codes) + sum(array.nbytes for array in self.first_child)

    def _arrays(self) -> list[NDArray[Any]]:
        return [self.keys, *self.codes, *self.first_child, self.items.offsets, self.items.blob]

    def save(self, path: Path) -> str:
        """Write atomically and durably; returns the SHA-256 of the content."""
        arrays, offset = [], 0
        for array in self._arrays():
            arrays.append({"dtype": array.dtype.str, "count": len(array), "offset": offset})
            offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        header = json.dumps({"level_sizes": self.space.level_sizes, "arrays": arrays, "bytes": offset}).encode()
        header += b" " * (-(len(_MAGIC) + 8 + len(header)) % _ALIGNMENT)
        digest = hashlib.sha256()
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            parts: list[bytes | memoryview] = [_MAGIC + len(header).to_bytes(8, "little") + header]
            for array in self._arrays():
                parts += [np.ascontiguousarray(array).view(np.uint8).data, b"\0" * (-array.nbytes % _ALIGNMENT)]
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
        arrays = [_mapped(path, start + entry["offset"], entry) for entry in header["arrays"]]
        space = SidSpace(tuple(header["level_sizes"]))
        keys, codes, children = arrays[0], arrays[1 : 1 + space.levels], arrays[1 + space.levels : -2]
        return cls(space, keys, tuple(codes), tuple(children), PackedItems(arrays[-2], arrays[-1]))


def _mapped(path: Path, offset: int, entry: dict[str, object]) -> NDArray[Any]:
    dtype, count = np.dtype(str(entry["dtype"])), int(str(entry["count"]))
    if not count:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r", offset, (count,)).view(np.ndarray)


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
