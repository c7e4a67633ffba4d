"""Text and taste in one vector: a content embedding beside a collaborative half that is predicted from it.

For items that users know, the collaborative half is measured (`training/collaborative.py`), and the exact vector comes
to the catalog with the item. This embedder is for the others: a linear map, fitted on the known items of a type,
says where their users would put an item of that text. So an item published later has a semantic ID from content alone.
NEO quantizes content alone; the mix is ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from safetensors.numpy import load_file, save_file

from neo_runtime.embed.base import Embedder, Vectors, unit_rows
from neo_runtime.errors import ModelError

MIXED_FILE = "mixed.json"
_ARRAYS, _BASE_FOLDER, _FORMAT = "mixed.safetensors", "base", "neo-mixed-1"


@runtime_checkable
class _Saved(Protocol):
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Ridge:
    """From a type's centred text vectors to its collaborative ones: `(text - mean) @ matrix + offset`, made unit."""

    mean: Vectors  # [dim]
    matrix: Vectors  # [dim, collaborative dim]
    offset: Vectors  # [collaborative dim]

    def centred(self, texts: Vectors) -> Vectors:
        """Unit rows [n, dim]: without what all texts of the type share, which tells none apart."""
        return unit_rows(texts - self.mean)

    def predict(self, centred: Vectors) -> Vectors:
        """Unit rows [n, collaborative dim]."""
        return unit_rows(np.asarray(centred @ self.matrix + self.offset, np.float32))


def fit_ridge(texts: Vectors, collaborative: Vectors, known: np.ndarray, *, strength: float = 1.0) -> Ridge:
    """On the rows that are `known`. texts [n, dim], collaborative [n, c], both of unit rows."""
    mean = np.asarray(texts.mean(0), np.float32)
    inputs = unit_rows(texts - mean)[known].astype(np.float64)
    offset = collaborative[known].mean(0)
    weights = np.linalg.solve(
        inputs.T @ inputs + strength * np.eye(texts.shape[1]), inputs.T @ (collaborative[known] - offset)
    )
    return Ridge(mean, np.asarray(weights, np.float32), np.asarray(offset, np.float32))


def joined(centred: Vectors, collaborative: Vectors, weight: float) -> Vectors:
    """Unit rows: the two halves, the squared lengths of which are as 1 : `weight`."""
    text, other = np.sqrt(1 / (1 + weight)), np.sqrt(weight / (1 + weight))
    return np.hstack((text * centred, other * collaborative)).astype(np.float32)


class MixedEmbedder:
    """`base` is what embeds the text; `spec` loads it again, empty where it lies beside this one's files."""

    def __init__(self, base: Embedder, spec: str, ridges: Mapping[str, Ridge], weight: float) -> None:
        self._base, self._spec, self._ridges, self._weight = base, spec, dict(ridges), weight
        self._width = next(iter(ridges.values())).matrix.shape[1]
        self.dimension = base.dimension + self._width
        self.name = f"mixed-{self.dimension}@{self._digest()}"

    def of_type(self, item_type: str) -> Embedder:
        """For texts of items of that type."""
        ridge = self._ridges.get(item_type)
        return self if ridge is None else _OfType(self, ridge)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Of texts of no type: nothing is known of their taste, so that half is zero. Unit rows [n, dimension]."""
        vectors = self._base.embed(texts)
        return np.hstack((vectors, np.zeros((len(texts), self._width), np.float32)))

    def embed_with(self, ridge: Ridge, texts: Sequence[str]) -> Vectors:
        """Unit rows [n, dimension]."""
        centred = ridge.centred(self._base.embed(texts))
        return joined(centred, ridge.predict(centred), self._weight)

    def save(self, folder: Path) -> None:
        """Base first, description last: a folder that has it is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        if not self._spec:
            assert isinstance(self._base, _Saved)
            self._base.save(folder / _BASE_FOLDER)
        save_file(self._arrays(), folder / _ARRAYS)
        about = {
            "format": _FORMAT, "name": self.name, "base": self._spec, "weight": self._weight,
            "types": list(self._ridges),
        }  # fmt: skip
        (folder / MIXED_FILE).write_text(json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote. ModelError where it is missing, of another format or damaged."""
        from neo_runtime.embed.load import load_embedder

        try:
            about = json.loads((folder / MIXED_FILE).read_text())
            arrays = load_file(folder / _ARRAYS)
            ridges = {
                name: Ridge(*(arrays[f"{name}/{part}"] for part in ("mean", "matrix", "offset")))
                for name in about["types"]
            }
            weight, spec, name = float(about["weight"]), str(about["base"]), str(about["name"])
        except Exception as error:
            raise _unusable(f"the mixed embedder in {folder} cannot be read: {error}") from error
        embedder = cls(load_embedder(spec or f"lexical:{folder / _BASE_FOLDER}"), spec, ridges, weight)
        if embedder.name != name:
            raise _unusable(f"{folder}: the content is {embedder.name}, it was written as {name}")
        return embedder

    def _arrays(self) -> dict[str, Vectors]:
        return {
            f"{name}/{part}": np.ascontiguousarray(getattr(ridge, part))
            for name, ridge in self._ridges.items()
            for part in ("mean", "matrix", "offset")
        }

    def _digest(self) -> str:
        """Twelve hexadecimal digits over everything that decides a vector."""
        digest = hashlib.sha256(json.dumps([_FORMAT, self._base.name, self._weight, list(self._ridges)]).encode())
        for array in self._arrays().values():
            digest.update(array.tobytes())
        return digest.hexdigest()[:12]


class _OfType:
    """A mixed embedder for the items of one type."""

    def __init__(self, mixed: MixedEmbedder, ridge: Ridge) -> None:
        self._mixed, self._ridge = mixed, ridge
        self.name, self.dimension = mixed.name, mixed.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit rows [n, dimension]."""
        return self._mixed.embed_with(self._ridge, texts)


def _unusable(message: str) -> ModelError:
    return ModelError(f"{message}; fit the semantic IDs again", reason="EMBEDDER_UNUSABLE")
