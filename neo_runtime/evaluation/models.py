"""The rankers that `neo evaluate` knows by name. `a+b` is the two fused, for any two names; `a-new` is a with places
that are kept for new items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neo_runtime.embed.base import Vectors
from neo_runtime.errors import NotFoundError
from neo_runtime.evaluation.ranker import Ranker
from neo_runtime.evaluation.reserved import SUFFIX, Reserved

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Material:
    """What a ranker may be made from besides the split that it is fitted on. `say` is told how its fit goes on."""

    item_type: str
    texts: Sequence[str]
    vectors: Callable[[], Vectors]
    seed: int = 0
    say: Say = lambda _: None


class Model(NamedTuple):
    """`is_seeded`: fitted again with another seed, it ranks otherwise. `is_reserving`: with places for new items, so
    that it is asked only where there are some.
    """

    make: Callable[[Material], Ranker]
    is_seeded: bool = False
    is_fused: bool = False
    is_reserving: bool = False


def _popularity(_: Material) -> Ranker:
    from neo_runtime.evaluation.popularity import Popularity

    return Popularity()


def _rules(_: Material) -> Ranker:
    from neo_runtime.evaluation.counts import SequentialRules

    return SequentialRules()


def _pctm(_: Material) -> Ranker:
    from neo_runtime.evaluation.counts import Pctm

    return Pctm()


def _item_knn(_: Material) -> Ranker:
    from neo_runtime.evaluation.neighbours import ItemKnn

    return ItemKnn()


def _ease(_: Material) -> Ranker:
    from neo_runtime.evaluation.neighbours import Ease

    return Ease()


def _content_knn(material: Material) -> Ranker:
    from neo_runtime.evaluation.content import ContentKnn

    return ContentKnn(material.vectors())


def _sasrec(material: Material) -> Ranker:
    from neo_runtime.evaluation.sasrec import SasRec

    return SasRec(seed=material.seed, say=material.say)


def _sasrec_bce(material: Material) -> Ranker:
    from neo_runtime.evaluation.sasrec import Loss, SasRec

    return SasRec(Loss.ONE_NEGATIVE, seed=material.seed, say=material.say)


MODELS: Mapping[str, Model] = {
    "popularity": Model(_popularity),
    "rules": Model(_rules),
    "pctm": Model(_pctm),
    "item-knn": Model(_item_knn),
    "ease": Model(_ease),
    "content-knn": Model(_content_knn),
    "sasrec": Model(_sasrec, is_seeded=True),
    "sasrec-bce": Model(_sasrec_bce, is_seeded=True),
}


def model(name: str, known: Mapping[str, Model] = MODELS) -> Model:
    """NotFoundError where nobody of that name is known."""
    if name in known:
        return known[name]
    if (plain := name.removesuffix(SUFFIX)) != name and plain in known:
        return _reserving(known[plain])
    first, plus, second = name.partition("+")
    if plus and first in known and second in known:
        return _fused(known[first], known[second])
    raise NotFoundError(
        "ranker", f"{name} (known: {', '.join(known)}; one with {SUFFIX} behind it; two of them joined by +)"
    )


def _reserving(chosen: Model) -> Model:
    return chosen._replace(make=lambda material: Reserved(chosen.make(material)), is_reserving=True)


def _fused(first: Model, second: Model) -> Model:
    from neo_runtime.evaluation.fused import Fused

    return Model(
        lambda material: Fused(first.make(material), second.make(material)),
        is_seeded=first.is_seeded or second.is_seeded,
        is_fused=True,
    )
