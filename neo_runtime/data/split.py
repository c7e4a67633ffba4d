"""Leave-one-out, per user and type: the last item is the test, the one before it validation, the rest is for training.

Days are coarse, and files often list the items of one day by id; then the raw order of ties gives the answer away.
So there are two orders: `raw`, which published tables use, and `shuffled`, with the ties of each row shuffled first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np

from neo_runtime.data.dataset import Dataset, Numbers, Sequences
from neo_runtime.data.ragged import Indices, Mask, Ragged

TIES_SEED = 20_140_723
"""Of the shuffled order: one for everybody, so that results compare."""
FEWEST_TO_TEST = 3
NEW_SHARE, NEW_SEED = 0.05, 5
"""Of each type's items, what `neo evaluate --new-items` asks for; a recipe with that share trains without them."""


class Order(StrEnum):
    """Of a user's items of the same day, or of the same time where times are known."""

    RAW = "raw"
    SHUFFLED = "shuffled"


class Fit(StrEnum):
    """What a model may learn from: the training part, or the validation item too, once everything is chosen."""

    T = "T"
    TV = "TV"


class Part(StrEnum):
    """What is to be guessed."""

    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows of a split, and what is known of them when the next item is to be guessed."""

    rows: Numbers
    histories: Ragged

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Cases:
    """Questions with their answers. Rankers see `asked` alone."""

    asked: Asked
    targets: Indices

    def take(self, places: Numbers) -> Cases:
        rows = Asked(self.asked.rows[places], self.asked.histories.take(places))
        return Cases(rows, self.targets[places])


@dataclass(frozen=True)
class Split:
    """One type's sequences in one order. `new_items` are in nobody's training part, as if they came later."""

    sequences: Sequences
    item_count: int
    order: Order
    new_items: Mask

    @property
    def item_type(self) -> str:
        return self.sequences.item_type

    @cached_property
    def tested(self) -> Numbers:
        """Rows with a test item; the others are for training as a whole."""
        return np.flatnonzero(self.sequences.items.lengths >= FEWEST_TO_TEST)

    def training(self, fit: Fit) -> Ragged:
        """A row for every row of the sequences, some of them empty."""
        return self.sequences.items.keep(self.is_training(fit))

    def is_training(self, fit: Fit) -> Mask:
        """Of each value of the sequences."""
        items = self.sequences.items
        held = np.zeros(len(items), np.int64)
        held[self.tested] = 1 if fit is Fit.TV else 2
        return (items.ages >= held[items.rows]) & ~self.new_items[items.values]

    def cases(self, part: Part) -> Cases:
        """What came before the validation or the test item; new items too, since they have been seen by then."""
        held = 2 if part is Part.VALIDATION else 1
        whole = self.sequences.items.take(self.tested)
        targets = whole.values[whole.offsets[1:] - held]
        return Cases(Asked(self.tested, whole.keep(whole.ages >= held)), targets)

    @cached_property
    def popularity(self) -> Numbers:
        """How often each item is in the training part."""
        return np.bincount(self.training(Fit.T).values, minlength=self.item_count)


def leave_one_out(sequences: Sequences, item_count: int, order: Order) -> Split:
    """Where neither days nor times are known, no ties are either, and both orders are the same."""
    if order is Order.SHUFFLED and sequences.clock is not None:
        sequences = _shuffled(sequences)
    return Split(sequences, item_count, order, np.zeros(item_count, np.bool_))


def new_among(item_count: int, share: float, *, seed: int = NEW_SEED) -> Mask:
    """A seeded share of so many items: the same ones wherever it is asked for."""
    found = np.zeros(item_count, np.bool_)
    found[np.random.default_rng(seed).permutation(item_count)[: round(share * item_count)]] = True
    return found


def hold_out_items(split: Split, share: float, *, seed: int = NEW_SEED) -> Split:
    """A seeded share of the items becomes new: removed from all training parts, with that part of what others did."""
    return replace(split, new_items=new_among(split.item_count, share, seed=seed))


def keep_out(dataset: Dataset, share: float) -> Dataset:
    """The same for a whole folder that is trained on: of every type, the items that `hold_out_items` finds."""
    return replace(dataset, new_items={name: new_among(len(items), share) for name, items in dataset.items.items()})


@dataclass(frozen=True, slots=True)
class OtherTypes:
    """For each row, items of other types: row i is `types[a:b]`, `items.values[a:b]`, oldest first within a type."""

    names: tuple[str, ...]
    types: Indices  # places in names
    items: Ragged

    def last(self, row: int, count: int) -> list[tuple[str, int]]:
        """Type and place of the row's last `count` items of each type."""
        items, start = self.items[row], int(self.items.offsets[row])
        types = self.types[start : start + len(items)]
        return [
            (self.names[code], place)
            for code in np.unique(types).tolist()
            for place in (items[types == code][-count:].tolist() if count else ())
        ]


def other_types(splits: Mapping[str, Split], item_type: str, part: Part) -> OtherTypes:
    """What each row's user did elsewhere before the item of `part`.

    Where both types have times, all that came before; else the other type's training part alone, since days do not
    tell which of two types came first.
    """
    users = splits[item_type].sequences.users
    asked_s = _asked_times(splits[item_type], part)
    names = tuple(name for name in splits if name != item_type)
    found = [_elsewhere(splits[name], users, asked_s, code) for code, name in enumerate(names)]
    if not found:
        return OtherTypes((), np.zeros(0, np.int32), Ragged.of([[] for _ in users]))
    rows, types, items = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(users)), dtype=np.int64)))
    return OtherTypes(names, types[order], Ragged(items[order], offsets))


def _asked_times(split: Split, part: Part) -> Numbers | None:
    """Of each row's item of `part`; before all others where there is none."""
    times_s, items = split.sequences.times_s, split.sequences.items
    if times_s is None:
        return None
    asked_s = np.full(len(items), np.iinfo(np.int64).min)
    held = 2 if part is Part.VALIDATION else 1
    asked_s[split.tested] = times_s[items.offsets[1:][split.tested] - held]
    return asked_s


def _elsewhere(
    other: Split, users: Numbers, asked_s: Numbers | None, code: int
) -> tuple[Numbers, Indices, Indices]:  # fmt: skip
    """Rows among `users`, the code, and items of `other`, in its order."""
    items, times_s = other.sequences.items, other.sequences.times_s
    places = np.minimum(np.searchsorted(users, other.sequences.users), len(users) - 1)
    is_known = (users[places] == other.sequences.users)[items.rows]
    rows = places[items.rows]
    kept = is_known & other.is_training(Fit.T)
    if asked_s is not None and times_s is not None:
        kept = is_known & (times_s < asked_s[rows]) & ~other.new_items[items.values]
    return rows[kept], np.full(int(kept.sum()), code, np.int32), items.values[kept]


def _shuffled(sequences: Sequences) -> Sequences:
    """Ties alone: an item never passes one of another day or time."""
    items, clock = sequences.items, sequences.clock
    assert clock is not None
    random = np.random.default_rng(TIES_SEED)
    order = np.lexsort((random.random(len(items.values)), clock, items.rows))
    # Days and times ascend in a row: they stay where they are.
    return replace(sequences, items=Ragged(items.values[order], items.offsets))
