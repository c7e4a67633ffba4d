"""Finished runs in a folder: figures in results.json, every question's hits beside it. Nothing is run twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from neo_runtime.errors import DataError
from neo_runtime.evaluation.metrics import Hits

FILE = "results.json"
FORMAT = 1


class Key(NamedTuple):
    """What a run is of. `fit` is T or TV, `order` raw or shuffled; a search has neither."""

    task: str
    item_type: str
    model: str
    order: str = ""
    fit: str = ""
    seed: int = 0

    @property
    def file(self) -> str:
        parts = (part for part in (self.task, self.item_type, self.order, self.fit, self.model, str(self.seed)) if part)
        return "hits/" + ".".join(parts).replace("/", "_").replace(" ", "-") + ".npz"

    @property
    def words(self) -> str:
        return " · ".join(part for part in (self.item_type, self.task, self.order, self.fit, self.model) if part)


class Run(msgspec.Struct, frozen=True):
    """One finished run. `groups`: metrics of groups of questions; `constants`: what was chosen on validation."""

    key: Key
    questions: int
    is_fused: bool
    metrics: dict[str, float]
    groups: dict[str, dict[str, float]]
    fit_s: float
    rank_s: float
    constants: str = ""


class Check(NamedTuple):
    """The share of a model's answers, or of its statements, that are as they should be."""

    item_type: str
    name: str
    asked: int
    share: float


class _File(msgspec.Struct):
    data: str
    embedder: str = "minilm"
    format: int = FORMAT
    runs: list[Run] = []
    checks: dict[str, list[Check]] = {}
    models: dict[str, str] = {}


class Results:
    """Of one data folder, told by its fingerprint. Every finished run is on disk at once."""

    def __init__(self, folder: Path, fingerprint: str, embedder: str = "minilm") -> None:
        """DataError where the folder holds results of other data, or of rankers with another embedder."""
        self.folder = folder
        (folder / "hits").mkdir(parents=True, exist_ok=True)
        self._file = _File(fingerprint, embedder)
        if (folder / FILE).exists():
            try:
                self._file = msgspec.json.decode((folder / FILE).read_bytes(), type=_File)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{folder / FILE} cannot be read ({error}); remove it or choose another --out"
                ) from error
            if (self._file.data, self._file.embedder, self._file.format) != (fingerprint, embedder, FORMAT):
                raise DataError(f"{folder / FILE} is of other data, embedder or version; choose another --out")

    @property
    def runs(self) -> Sequence[Run]:
        return self._file.runs

    def as_builtins(self) -> object:
        return msgspec.to_builtins(self._file)

    def has(self, key: Key) -> bool:
        return any(run.key == key for run in self.runs) and (self.folder / key.file).exists()

    def add(self, run: Run, hits: Hits) -> None:
        """Instead of an earlier run of the same."""
        packed = np.packbits(hits.found, axis=1)
        np.savez_compressed(self.folder / run.key.file, found=packed, relevant=hits.relevant, width=hits.found.shape[1])
        self._file.runs = [other for other in self.runs if other.key != run.key] + [run]
        self._write()

    def claim(self, what: str, digest: str, is_of: Callable[[Key], bool]) -> int:
        """Keep no figures of another model than the one with this digest; how many runs had to go. `what` names its
        place in the report, `is_of` the runs that are its figures.
        """
        if self._file.models.get(what) == digest:
            return 0
        self._file.models[what] = digest
        kept = [run for run in self.runs if not is_of(run.key)]
        dropped = len(self.runs) - len(kept)
        self._file.runs = kept
        self._file.checks.pop(what, None)
        self._write()
        return dropped

    def add_checks(self, model: str, checks: Sequence[Check]) -> None:
        """Of the answers of one trained model."""
        self._file.checks[model] = list(checks)
        self._write()

    @property
    def checks(self) -> Mapping[str, Sequence[Check]]:
        """By model."""
        return self._file.checks

    def _write(self) -> None:
        draft = self.folder / f"{FILE}.new"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self._file), indent=1))
        draft.replace(self.folder / FILE)

    def hits(self, key: Key) -> Hits:
        with np.load(self.folder / key.file) as stored:
            found = np.unpackbits(stored["found"], axis=1, count=int(stored["width"])).astype(np.bool_)
            return Hits(found, stored["relevant"])

    def seeds(self, key: Key) -> Sequence[Run]:
        """The runs that differ in their seed alone."""
        return sorted(
            (run for run in self.runs if run.key._replace(seed=key.seed) == key), key=lambda run: run.key.seed
        )
