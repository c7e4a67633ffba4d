"""Every baseline learns what there is to learn, and never ranks what the user has had."""

from __future__ import annotations

import numpy as np
import pytest

from neo_runtime.data.split import Asked, Fit, Order, Part, Split, leave_one_out
from neo_runtime.data.transitions import transitions
from neo_runtime.embed.base import Vectors
from neo_runtime.errors import NotFoundError
from neo_runtime.evaluation.bootstrap import interval, paired_difference, spread
from neo_runtime.evaluation.counts import Pctm, PctmConstants, RuleConstants, SequentialRules, strongest
from neo_runtime.evaluation.metrics import means, single_hits
from neo_runtime.evaluation.models import MODELS, Material, model
from neo_runtime.evaluation.neighbours import Ease, EaseConstants, ItemKnn, KnnConstants
from neo_runtime.evaluation.popularity import Popularity
from neo_runtime.evaluation.ranker import NONE, Ranker
from neo_runtime.evaluation.sasrec import Loss, Recipe, SasRec
from tests.kit.interactions import sequences, two_tastes

ITEMS = 40


@pytest.fixture(scope="module")
def ring() -> Split:
    return leave_one_out(two_tastes(items=ITEMS), ITEMS, Order.RAW)


def ring_vectors() -> Vectors:
    """Items that follow each other lie beside each other, on one of two circles."""
    angle = 2 * np.pi * (np.arange(ITEMS) // 2) / (ITEMS // 2)
    taste = np.arange(ITEMS) % 2
    return np.stack([np.cos(angle), np.sin(angle), 2.0 * taste, 2.0 * (1 - taste)], axis=1).astype(np.float32)


MATERIAL = Material("film", [f"film {item}" for item in range(ITEMS)], ring_vectors)


def hit_rate(ranker: Ranker, split: Split) -> float:
    cases = split.cases(Part.TEST)
    return means(single_hits(ranker.rank(cases.asked).items, cases.targets))["HR@5"]


@pytest.mark.parametrize("name", [name for name, one in MODELS.items() if not one.is_seeded] + ["rules+item-knn"])
def test_baselines_rank_what_is_new_to_the_user(ring: Split, name: str) -> None:
    ranker = model(name).make(MATERIAL)
    for fit in Fit:
        ranker.fit(ring, fit)
        cases = ring.cases(Part.TEST)
        lists = ranker.rank(cases.asked, k=45).items
        assert lists.shape == (len(cases.targets), 45)
        for items, history in zip(lists, cases.asked.histories, strict=True):
            kept = items[items != NONE].tolist()
            assert len(set(kept)) == len(kept)
            assert not set(kept) & set(history.tolist())


@pytest.mark.parametrize(
    "ranker",
    [
        SequentialRules(RuleConstants()),
        Pctm(PctmConstants(tau=10)),
        ItemKnn(KnnConstants(shrink=1, decay=0.6)),
        Ease(EaseConstants(penalty=5, decay=0.6)),
    ],
    ids=lambda ranker: type(ranker).__name__,
)
def test_what_follows_is_learned(ring: Split, ranker: Ranker) -> None:
    popular = Popularity()
    for one in (ranker, popular):
        one.fit(ring, Fit.T)
    assert hit_rate(ranker, ring) > 0.9
    assert hit_rate(popular, ring) < 0.4


@pytest.mark.parametrize("loss", Loss)
def test_sasrec_learns_with_either_loss_and_the_same_each_time(ring: Split, loss: Loss) -> None:
    told: list[str] = []
    recipe = Recipe(rate=0.01, batch_rows=64, most_epochs=15, patience=15)
    first, second = (SasRec(loss, recipe, seed=3, say=told.append) for _ in range(2))
    for one in (first, second):
        one.fit(ring, Fit.T)
    assert hit_rate(first, ring) > 0.6
    assert "epoch 15" in told[-1]
    cases = ring.cases(Part.TEST).asked
    assert first.rank(cases).items.tolist() == second.rank(cases).items.tolist()
    assert first.constants == second.constants
    first.fit(ring, Fit.TV)
    assert hit_rate(first, ring) > 0.6


def test_a_history_ranks_alike_whoever_stands_beside_it(ring: Split) -> None:
    """Rows of other lengths are padding to each other."""
    ranker = SasRec(recipe=Recipe(most_epochs=1))
    ranker.fit(ring, Fit.T)
    histories = sequences([[1, 3, 5], [*range(30)], [2]]).items
    together = ranker.scores(Asked(np.arange(3), histories))
    alone = [ranker.scores(Asked(np.array([0]), histories.take(np.array([row]))))[0] for row in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_fusion_of_both_is_no_worse_than_the_weaker(ring: Split) -> None:
    fused = model("popularity+rules").make(MATERIAL)
    fused.fit(ring, Fit.T)
    assert hit_rate(fused, ring) > 0.9


def test_only_the_strongest_followers_stay() -> None:
    matrix = transitions(sequences([[0, 1], [0, 1], [0, 2], [1, 2]]).items, 3, np.ones(1, np.float32))
    assert strongest(matrix, 1).toarray().tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


def test_a_name_that_nobody_knows_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="item-knn"):
        model("magic")
    with pytest.raises(NotFoundError):
        model("rules+magic")
    assert model("rules+sasrec").is_seeded
    assert model("rules+pctm").is_fused


def test_an_interval_holds_the_mean_and_narrows_with_users() -> None:
    random = np.random.default_rng(0)
    few, many = (interval(random.random(count)) for count in (100, 10_000))
    for one in (few, many):
        assert one.low < one.mean < one.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 12) / 100, rel=0.1)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    random = np.random.default_rng(0)
    theirs = random.random(1_000)
    ours = theirs + 0.01
    assert paired_difference(ours, theirs).low > 0
    assert interval(ours).low < interval(theirs).high
    assert spread([0.1]) == (0.1, None)
    assert spread([0.1, 0.3]).deviation == pytest.approx(0.1414, abs=1e-4)
