"""NEO's ablations on a data folder: a recipe for each, trained, asked of the same users, beside the paper's findings.

    python -m benchmarks.ablations DATA OUT [--types beauty] [--epochs 20] [--only lsh,free-beams]

OUT gets `recipes/*.toml`, a model's folder for each that is trained, and `ablations.md`, written anew after each row.
What is finished is not run again, and a training that was stopped goes on. Items are embedded once for all rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import tomllib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from benchmarks.ablation_rows import RECIPE, Row, as_toml, changed, rows_of
from benchmarks.ablation_table import NOTE, tables
from benchmarks.measure import machine
from neo_runtime import heap
from neo_runtime.catalog.fit import LEXICAL
from neo_runtime.data.dataset import data_files, read_dataset
from neo_runtime.embed.base import Vectors
from neo_runtime.embed.load import load_embedder
from neo_runtime.evaluation.models import Model
from neo_runtime.evaluation.neo import NeoModels
from neo_runtime.evaluation.results import Check, Results
from neo_runtime.evaluation.run import Plan, evaluate, fingerprint
from neo_runtime.ingest.bulk import read_lines
from neo_runtime.training.recipe import TrainRecipe, read_recipe
from neo_runtime.training.sids import EMBEDDINGS_FILE, fit_sids
from neo_runtime.training.stages import Training

REPORT = "ablations.md"
_EXAMPLE = Path(__file__).parents[1] / "examples" / "train.toml"
_SAID_EVERY_S = 60.0


class Ablations:
    """All rows over one data folder, in one folder."""

    def __init__(self, data: Path, out: Path, recipe: Path, epochs: float | None, console: Console) -> None:
        """SystemExit where the recipe is of a pre-trained decoder: the rows are for a fresh one."""
        self._data, self._out, self._console = data, out, console
        self._values, base = tomllib.loads(recipe.read_text()), read_recipe(recipe)
        if not base.base.is_fresh:
            raise SystemExit(f"{recipe} names a pre-trained decoder; the rows are for a fresh one")
        self._epochs = epochs or base.stage("instruct").epochs or 0.0
        self.dataset = read_dataset(data)
        self._results = Results(out / "results", fingerprint(self.dataset))
        rows = rows_of(base, self._epochs)
        self._said = 0.0
        self.rows = [row for row in rows if row.fewest_types <= len(self.dataset.sequences)]

    def run(self, only: Collection[str]) -> None:
        """Those rows, and the recipe itself, which the others are compared with."""
        for row in self.rows:
            if not only or row.name in {RECIPE, *only}:
                self._console.rule(row.what)
                self._evaluate(row, self._trained(row.trained))
                self.report()

    def report(self) -> None:
        lines = ["# NEO's ablations", "", NOTE, "", f"{self._epochs:g} epochs. `{json.dumps(machine())}`"]
        for title, table in tables(self._results, self.rows, self._spent()).items():
            lines += ["", f"## {title}", "", *table.lines()]
        (self._out / REPORT).write_text("\n".join(lines) + "\n")

    def _trained(self, name: str) -> TrainRecipe:
        (row,) = (row for row in self.rows if row.name == name)
        file = self._out / "recipes" / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        places = str(self._data.resolve()), str((self._out / "models" / name).resolve())
        file.write_text(as_toml(changed(self._values, row, self._epochs, *places), row.what))
        recipe = read_recipe(file)
        training = Training(recipe, self.dataset, self._console)  # refuses a folder of another recipe
        if not (recipe.out / "neo.json").exists():
            sids = self._sids(recipe)
            with self._timed(name, "train"):
                training.run(sids)
        return recipe

    def _sids(self, recipe: TrainRecipe) -> Path:
        """Stage 1, shared by the rows that have the same."""
        samples = recipe.samples
        folder = self._out / "sids" / _digest([recipe.sids.model_dump_json(), samples.order, samples.fit])
        if not (folder / EMBEDDINGS_FILE).exists():
            spec = recipe.sids.embedder  # lexical is fitted anew, in seconds
            kept = None if spec == LEXICAL else KeptVectors(spec, self._out / "vectors")
            with self._timed(f"sids {folder.name}", "fit"):
                for found in fit_sids(
                    self.dataset, recipe.sids, folder, order=samples.order, fit=samples.fit, at_hand=kept
                ):
                    self._console.print(*found)
        return folder

    def _evaluate(self, row: Row, recipe: TrainRecipe) -> None:
        def told(check: Check) -> None:
            others = [other for other in self._results.checks.get(row.name, ()) if other[:2] != check[:2]]
            self._results.add_checks(row.name, [*others, check])

        samples, seed = recipe.samples, recipe.instruct.seed
        with closing(NeoModels([recipe.out], self._data, self.dataset)) as models, self._timed(row.name, "rank"):
            known = {row.name: Model(lambda material: row.ranker(models, seed, material.say, told))}
            plan = Plan(sorted(self.dataset.sequences), [row.name], [samples.order], [samples.fit], known=known)
            evaluate(self.dataset, plan, self._results, _no_vectors, lambda *said: self._say(said[-1]))

    def _say(self, words: str) -> None:
        """A line a minute: users are counted in tens of thousands."""
        if words and time.monotonic() - self._said > _SAID_EVERY_S:
            self._said = time.monotonic()
            self._console.print(words)

    def _spent(self) -> dict[str, dict[str, float]]:
        file = self._out / "cpu_seconds.json"
        found: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
        return found

    @contextmanager
    def _timed(self, name: str, what: str) -> Iterator[None]:
        """Adds up over stops, but for what a killed process took."""
        started = time.process_time()
        try:
            yield
        finally:
            spent = self._spent()
            of_row = spent.setdefault(name, {})
            of_row[what] = of_row.get(what, 0.0) + time.process_time() - started
            (self._out / "cpu_seconds.json").write_text(json.dumps(spent, indent=1) + "\n")


class KeptVectors:
    """An embedder that remembers in a folder what it embedded: the same texts are embedded once for all rows."""

    def __init__(self, spec: str, folder: Path) -> None:
        self._base, self._folder = load_embedder(spec), folder
        self.name, self.dimension = self._base.name, self._base.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        file = self._folder / f"{_digest([self.name, *texts])}.npy"
        if not file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            np.save(file, self._base.embed(texts))
        found: Vectors = np.load(file)
        return found


def of_types(source: Path, types: Collection[str], out: Path) -> Path:
    """A data folder with the lines of some types alone."""
    out.mkdir(parents=True, exist_ok=True)
    for stem in ("items", "interactions", "queries"):
        lines = [line for path in data_files(source, stem) for _, line in read_lines(str(path)) if _type(line) in types]
        (out / f"{stem}.jsonl").write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
    return out


def _type(line: bytes) -> str:
    found = msgspec.json.decode(line)
    named = found.get("item") or (found.get("items") or [""])[0]
    return str(found["type"] if "type" in found else named.partition("/")[0])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def _no_vectors(item_type: str) -> Vectors:
    raise AssertionError(f"no row looks at the texts of {item_type}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--types", default="", help="of items, to train and to ask for; none: all of the folder")
    parser.add_argument("--epochs", type=float, help="of stage 3; none: the recipe's")
    parser.add_argument("--only", default="", help="rows by name; the recipe itself always is one")
    parser.add_argument("--recipe", type=Path, default=_EXAMPLE, help="what the rows change; data and out are not read")
    arguments = parser.parse_args()
    heap.keep()  # before torch: a step's tensors are given back to the system each time otherwise
    data = arguments.data
    if arguments.types:
        data = of_types(data, arguments.types.split(","), arguments.out / "data")
    ablations = Ablations(data, arguments.out, arguments.recipe, arguments.epochs, Console())
    ablations.run([name for name in arguments.only.split(",") if name])
    print((arguments.out / REPORT).read_text())


if __name__ == "__main__":
    main()
