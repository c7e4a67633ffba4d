"""A residual k-means quantizer of one item type: embedding to code tuple (NEO §stage 1).

c_m = argmin_j ‖r_{m-1} - μ_{m,j}‖², r_m = r_{m-1} - μ_{m,c_m}, r_0 = the embedding.
Kept as `<type>.safetensors` (the centroids) beside `<type>.json` (what they belong to).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from neo_runtime.errors import StartupError
from neo_runtime.sid.space import SidSpace

Floats = NDArray[np.float32]
_BATCH = 65_536  # rows encoded at once: bounds the distance matrix to 256 MiB at 1,024 codes


@dataclass(frozen=True, eq=False)
class Codebook:
    """`centroids[m]` is float32 [K_m, dim]; `embedder` names the model whose vectors they divide."""

    item_type: str
    embedder: str
    centroids: tuple[Floats, ...]

    @cached_property
    def space(self) -> SidSpace:
        return SidSpace(tuple(len(level) for level in self.centroids))

    @property
    def dimension(self) -> int:
        return int(self.centroids[0].shape[1])

    @cached_property
    def _half_norms(self) -> tuple[Floats, ...]:
        return tuple(np.einsum("kd,kd->k", level, level) / 2 for level in self.centroids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that gives a code its meaning, 16 hex digits."""
        digest = hashlib.sha256(json.dumps([self.item_type, self.embedder, self.space.level_sizes]).encode())
        for level in self.centroids:
            digest.update(np.ascontiguousarray(level, "<f4").tobytes())
        return digest.hexdigest()[:16]

    def encode(self, embeddings: Floats) -> tuple[NDArray[np.uint16], Floats]:
        """Embeddings [n, dim] to codes uint16 [n, levels] and squared quantization errors float32 [n]."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dimension:
            raise ValueError(f"embeddings of shape {embeddings.shape}, not [n, {self.dimension}]")
        codes = np.empty((len(embeddings), self.space.levels), np.uint16)
        errors = np.empty(len(embeddings), np.float32)
        for start in range(0, len(embeddings), _BATCH):
            rows = slice(start, start + _BATCH)
            residual = embeddings[rows].astype(np.float32, copy=True)
            for level, centroids in enumerate(self.centroids):
                codes[rows, level] = np.argmin(self.distances(level, residual), axis=1)
                residual -= centroids[codes[rows, level]]
            errors[rows] = np.einsum("nd,nd->n", residual, residual)
        return codes, errors

    def decode(self, codes: NDArray[np.uint16]) -> Floats:
        """The sum of each tuple's centroids, [n, dim], of codes [n, levels]: what they alone say of the embeddings."""
        total = np.zeros((len(codes), self.dimension), np.float32)
        for level, centroids in enumerate(self.centroids):
            total += centroids[codes[:, level]]
        return total

    def distances(self, level: int, residual: Floats) -> Floats:
        """Squared distances to every centroid of the level, less the residual's own norm, halved: [n, K]."""
        scores: Floats = self._half_norms[level] - residual @ self.centroids[level].T
        return scores

    def nearest_tuples(self, embedding: Floats, level: int = 0) -> Iterator[tuple[int, ...]]:
        """Every tuple below `level`, the nearest code first at each level: the last level varies fastest."""
        for code in np.argsort(self.distances(level, embedding[None])[0], kind="stable").tolist():
            if level == self.space.levels - 1:
                yield (code,)
                continue
            for tail in self.nearest_tuples(embedding - self.centroids[level][code], level + 1):
                yield (code, *tail)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"level_{m}": np.ascontiguousarray(level) for m, level in enumerate(self.centroids)}
        save_file(tensors, folder / f"{self.item_type}.safetensors")
        header = {"item_type": self.item_type, "embedder": self.embedder, "fingerprint": self.fingerprint}
        (folder / f"{self.item_type}.json").write_text(json.dumps(header, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Codebook:
        """From the JSON file of a saved codebook; StartupError where it is missing, broken or changed."""
        try:
            header = json.loads(path.read_text())
            tensors = load_file(path.with_suffix(".safetensors"))
            levels = tuple(tensors[f"level_{m}"] for m in range(len(tensors)))
            codebook = cls(header["item_type"], header["embedder"], levels)
            intact = codebook.fingerprint == header["fingerprint"]
        except Exception as error:
            raise StartupError(
                f"codebook {path} cannot be read ({error}); fit it again or restore the folder"
            ) from error
        if not intact:
            raise StartupError(f"codebook {path} does not have the fingerprint it names; restore the folder")
        return codebook


def fingerprints(codebooks: Mapping[str, Codebook]) -> dict[str, str]:
    """By item type: what a model and a catalog that belong together agree on."""
    return {name: codebook.fingerprint for name, codebook in codebooks.items()}


def load_codebooks(folder: Path) -> dict[str, Codebook]:
    """Every codebook of a folder by item type; StartupError where there is none."""
    codebooks = [Codebook.load(path) for path in sorted(folder.glob("*.json"))]
    if not codebooks:
        raise StartupError(f"no codebooks in {folder}; `neo sids fit` makes them")
    return {codebook.item_type: codebook for codebook in codebooks}
