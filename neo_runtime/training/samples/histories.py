"""What users did, as training sees it: the training part of each row, with what they did elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neo_runtime.data.dataset import Dataset, Numbers
from neo_runtime.data.ragged import Ragged
from neo_runtime.data.split import Fit, Order, OtherTypes, Part, Split, leave_one_out, other_types
from neo_runtime.types import ItemKey


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """How rows become histories. `window`: items at most; `context_window`: items of each other type at most.

    `context_share`: of the samples that say what the user did elsewhere. `dropped_share`: of a row's items, left out
    anew each time. `shuffles_ties`: items of one day come in a new order each time, since theirs is not known.
    """

    window: int = 20
    context_window: int = 8
    context_share: float = 0.5
    dropped_share: float = 0.2
    shuffles_ties: bool = True


class Histories:
    """The training rows of one item type."""

    def __init__(self, split: Split, keys: Mapping[str, Sequence[ItemKey]], others: OtherTypes, fit: Fit) -> None:
        """`keys`: of every type, in the order of the dataset's items."""
        self.item_type, self._keys, self._others = split.item_type, keys, others
        kept = split.is_training(fit)
        self.rows: Ragged = split.sequences.items.keep(kept)
        self._days = None if split.sequences.days is None else split.sequences.days[kept]

    def __len__(self) -> int:
        return len(self.rows)

    def drawn(self, row: int, options: HistoryOptions, random: np.random.Generator) -> list[ItemKey]:
        """The row's items, oldest first, as one sample sees them: at most a window and the item after it."""
        items = self.rows[row]
        if options.shuffles_ties and self._days is not None and len(items) > 1:
            days = self._days[self.rows.offsets[row] : self.rows.offsets[row + 1]]
            items = items[np.lexsort((random.random(len(items)), days))]
        if options.dropped_share and len(items) > 2:
            kept = random.random(len(items)) >= options.dropped_share
            items = items[kept] if kept.sum() >= 2 else items
        longest = options.window + 1
        if len(items) > longest:
            first = int(random.integers(len(items) - longest + 1))
            items = items[first : first + longest]
        keys = self._keys[self.item_type]
        return [keys[place] for place in items.tolist()]

    def elsewhere(self, row: int, options: HistoryOptions, random: np.random.Generator) -> list[ItemKey]:
        """Items of other types, oldest first within a type; none for most samples where that share is low."""
        if not len(self._others.items[row]) or random.random() >= options.context_share:
            return []
        return [self._keys[name][place] for name, place in self._others.last(row, options.context_window)]


def read_histories(dataset: Dataset, order: Order, fit: Fit) -> dict[str, Histories]:
    """Of every type that has interactions."""
    splits = splits_of(dataset, order)
    keys = {name: [item.key for item in items] for name, items in dataset.items.items()}
    # Without times only training parts count as elsewhere: what is held out of one type must not be seen by another.
    timeless = {
        name: replace(split, sequences=replace(split.sequences, times_s=None)) for name, split in splits.items()
    }
    return {
        name: Histories(split, keys, other_types(timeless, name, Part.VALIDATION), fit)
        for name, split in splits.items()
    }


def splits_of(dataset: Dataset, order: Order) -> dict[str, Split]:
    """The dataset's new items are in nobody's training part."""
    found = {
        name: leave_one_out(sequences, len(dataset.items[name]), order)
        for name, sequences in sorted(dataset.sequences.items())
    }
    return {
        name: replace(split, new_items=dataset.new_items.get(name, split.new_items)) for name, split in found.items()
    }


def windows(rows: Ragged, window: int) -> Numbers:
    """Rows, each as often as a window and its target fit into it: long histories have more to tell."""
    lengths = rows.lengths
    return np.repeat(np.arange(len(rows)), np.where(lengths > 0, -(-lengths // (window + 1)), 0))
