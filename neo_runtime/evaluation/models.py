"""The rankers that `neo evaluate` knows by name. `a+b` is the two fused, for any two names; `a-new` is a with places
that are kept for new items, `neo@1` a trained model that is asked with a bonus of 1 for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neo_runtime.embed.base import Vectors
from neo_runtime.engine.api import MAX_BONUS
from neo_runtime.errors import NotFoundError
from neo_runtime.evaluation.ranker import Ranker
from neo_runtime.evaluation.reserved import SUFFIX, Reserved

Say = Callable[[str], None]
BONUS = "@"
"""Behind a trained model's name, with a number: what it is told to add to new items' log-probabilities."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a ranker may be made from besides the split that it is fitted on. `say` is told how its fit goes on."""

    item_type: str
    texts: Sequence[str]
    vectors: Callable[[], Vectors]
    seed: int = 0
    say: Say = lambda _: None


class Model(NamedTuple):
    """`is_seeded`: fitted again with another seed, it ranks otherwise. `favours_new`: asked only where there are
    new items. `with_bonus`: one that scores new items higher, where it can.
    """

    make: Callable[[Material], Ranker]
    is_seeded: bool = False
    is_fused: bool = False
    favours_new: bool = False
    with_bonus: Callable[[Material, float], Ranker] | None = None


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
    plain = unfavoured(name)
    if plain != name and plain in known and (favouring := _favouring(known[plain], name.removeprefix(plain))):
        return favouring
    first, plus, second = name.partition("+")
    if plus and first in known and second in known:
        return _fused(known[first], known[second])
    raise NotFoundError(
        "ranker", f"{name} (known: {', '.join(known)}; one with {SUFFIX} behind it; neo@1; two of them joined by +)"
    )


def unfavoured(name: str) -> str:
    """The model that favours no new items, of one that does; any other itself."""
    return name.removesuffix(SUFFIX).partition(BONUS)[0]


def _favouring(chosen: Model, how: str) -> Model | None:
    """None where the model cannot, or the bonus is none that a request may have."""
    if how == SUFFIX:
        return chosen._replace(make=lambda material: Reserved(chosen.make(material)), favours_new=True)
    try:
        bonus = float(how.removeprefix(BONUS))
    except ValueError:
        return None
    make = chosen.with_bonus
    if make is None or not abs(bonus) <= MAX_BONUS:
        return None
    return chosen._replace(make=lambda material: make(material, bonus), favours_new=True)


def _fused(first: Model, second: Model) -> Model:
    from neo_runtime.evaluation.fused import Fused

    return Model(
        lambda material: Fused(first.make(material), second.make(material)),
        is_seeded=first.is_seeded or second.is_seeded,
        is_fused=True,
    )
