"""Several task families as one stream of samples: in each epoch of each family its share, in random order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from neo_runtime.errors import DataError
from neo_runtime.training.examples import Sample


class Family(Protocol):
    """One task's samples, by place."""

    def __len__(self) -> int: ...

    def sample(self, place: int, random: np.random.Generator) -> Sample:
        """What does not follow from the place is drawn from `random`."""


class Part(NamedTuple):
    """`share`: how much of the family comes in an epoch; 0.5 is every other place, in turn, 2 is each twice."""

    family: Family
    share: float


class Mixture:
    """`sample(number)` depends on seed and number alone."""

    def __init__(self, parts: Mapping[str, Part], *, seed: int = 0) -> None:
        """DataError where nothing is left."""
        kept = {name: part for name, part in parts.items() if part.share > 0 and len(part.family)}
        self.counts = {name: max(1, round(part.share * len(part.family))) for name, part in kept.items()}
        if not kept:
            raise DataError(
                f"no samples: none of {', '.join(parts) or 'the tasks'} has a share and data to be made from"
            )
        self._families = [part.family for part in kept.values()]
        self._seed = seed
        self._ends = np.cumsum(list(self.counts.values()))
        # Neighbours in a file are alike; in turns through it they must not stand in the same epochs.
        self._orders = [
            np.random.default_rng((seed, 1, number)).permutation(len(family))
            for number, family in enumerate(self._families)
        ]
        self._permutation = lru_cache(2)(self._permuted)  # a pool may lie on two epochs

    def __len__(self) -> int:
        return int(self._ends[-1])

    def sample(self, number: int) -> Sample:
        epoch, place = divmod(number, len(self))
        chosen = int(self._permutation(epoch)[place])
        which = int(np.searchsorted(self._ends, chosen, side="right"))
        count = int(self._ends[which] - (self._ends[which - 1] if which else 0))
        local = epoch * count + chosen - int(self._ends[which]) + count
        family = self._families[which]
        return family.sample(
            int(self._orders[which][local % len(family)]), np.random.default_rng((self._seed, 2, number))
        )

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._seed, 0, epoch)).permutation(len(self))
