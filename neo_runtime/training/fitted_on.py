"""What semantic IDs were fitted on, written beside them: who trains on them must hold the same out."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from neo_runtime.data.dataset import Dataset
from neo_runtime.data.split import Fit, Order
from neo_runtime.errors import StartupError
from neo_runtime.training.recipe import SamplesRecipe, SidsRecipe

FITTED_ON_FILE = "sids.json"


class FittedOn(BaseModel):
    """`new_items`: how many items were left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sids: SidsRecipe
    order: Order
    fit: Fit
    new_items: int

    @classmethod
    def read(cls, folder: Path) -> FittedOn | None:
        """None where codebooks came without interactions: nothing of them can be held out. StartupError for a broken
        file.
        """
        file = folder / FITTED_ON_FILE
        if not file.exists():
            return None
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise StartupError(f"{file} cannot be read ({error}); fit the semantic IDs again") from error

    def save(self, folder: Path) -> None:
        (folder / FITTED_ON_FILE).write_text(self.model_dump_json(indent=2) + "\n")

    def check(self, folder: Path, samples: SamplesRecipe, dataset: Dataset) -> None:
        """StartupError where training would be told, through the codes, of what it is to do without."""
        same = self.new_items == left_out(dataset)
        if self.sids.collaborative:
            same &= (self.order, self.fit) == (samples.order, samples.fit)
        if not same:
            raise StartupError(
                f"{folder} was fitted on the {self.order} order, {self.fit}, with {self.new_items:,} items left out; "
                f"training wants {samples.order}, {samples.fit} and {left_out(dataset):,}, so its codes would know "
                f"what is held out; fit again with --order {samples.order} --fit {samples.fit} "
                f"--new-items {samples.new_items:g}, or change these in [samples]"
            )


def left_out(dataset: Dataset) -> int:
    """Number of items that no training may know."""
    return len(dataset.new_lines)
