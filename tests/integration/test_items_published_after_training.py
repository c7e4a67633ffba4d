"""A model that knows what it was trained on: items that came later score by those beside them, the others as ever."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neo_runtime.engine.api import Constraints, RankedList, RankWork
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.prompt.message import Conversation, Turn
from tests.kit import running, tiny

ALL = 400
Tuples = set[tuple[int, ...]]
PROMPT = Conversation((Turn("user", ("Recommend something.",)),))


class Asked:
    """A prompt's distributions, one forward pass for each tuple."""

    def __init__(
        self, model: NeoModel, prompt: list[int], known: dict[str, Tuples], normalization: Normalization
    ) -> None:
        self._model, self._prompt, self._known, self._normalization = model, prompt, known, normalization

    def level_probabilities(self, item_type: str, codes: tuple[int, ...]) -> list[list[float]]:
        """Of all codes of each level, after the codes before it."""
        levels = [self._model.vocabulary.level_tokens(item_type, level) for level in range(len(codes))]
        tokens = [*self._prompt, *(tokens.start + code for tokens, code in zip(levels, codes, strict=True))]
        with torch.no_grad():
            logits = self._model.lm(torch.tensor([tokens])).logits[0, len(self._prompt) - 1 :].double()
        found = []
        for level, tokens_of in enumerate(levels):
            beside = {known[level] for known in self._known[item_type] if known[:level] == codes[:level]}
            if self._normalization is Normalization.VOCABULARY:
                among = logits[level]
            elif not level:
                first = [self._model.vocabulary.level_tokens(name, 0) for name in self._known]
                among = torch.cat([logits[0, run] for run in first])
            else:
                among = logits[level, tokens_of]
                if self._normalization is Normalization.LEARNED and beside:
                    among = among[sorted(beside)]
            found.append((logits[level, tokens_of] - among.logsumexp(0)).exp().tolist())
        return found

    def score(self, item_type: str, codes: tuple[int, ...], bonus: float) -> float:
        probabilities, score = self.level_probabilities(item_type, codes), 0.0
        for depth, code in enumerate(codes):
            below = [known for known in self._known[item_type] if known[:depth] == codes[:depth]]
            beside = {known[depth] for known in below}
            if code not in beside:
                return score + math.log(sum(probabilities[depth][known] for known in beside) / len(below)) + bonus
            score += math.log(probabilities[depth][code])
        return score


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("bonus", [0.0, 1.5])
@pytest.mark.parametrize("types", [["film"], ["film", "book", "artist"]], ids=["one type", "three types"])
def test_every_live_tuple_scores_by_the_rule_and_all_are_found(
    tmp_path: Path, normalization: Normalization, types: list[str], bonus: float
) -> None:
    catalog, rng = tiny.catalog(tmp_path / "c", 40), np.random.default_rng(0)
    live, known = dict[str, Tuples](), dict[str, Tuples]()
    for name in types:
        with catalog.store.read() as txn:
            packed = np.array([sid for sid, _ in txn.sids(name)], np.uint64)
        space = catalog.codebooks[name].space
        live[name] = {tuple(codes) for codes in space.unpack(packed).tolist()}
        learned = np.sort(rng.choice(packed, len(packed) // 3, replace=False))
        known[name] = {tuple(codes) for codes in space.unpack(learned).tolist()}
    model = tiny.model()
    spaces = model.vocabulary.spaces
    keys = {name: np.sort(spaces[name].pack(np.array(list(tuples)))) for name, tuples in known.items()}
    work = RankWork(PROMPT, constraints=Constraints(tuple(types)), max_results=ALL, new_item_bonus=bonus)
    with running.engine(replace(model, learned=keys), catalog.reader, normalization=normalization) as engine:
        (ours,) = running.answer(engine, work)
        prompt = [*engine._decoder.renderer.render(PROMPT, {}), model.vocabulary.span_open]
    assert isinstance(ours, RankedList)
    asked = Asked(model, prompt, known, normalization)
    wanted = {(name, codes): asked.score(name, codes, bonus) for name, tuples in live.items() for codes in tuples}
    assert {(row.item_type, row.codes): row.logprob for row in ours.ranked} == pytest.approx(wanted, abs=1e-4)
    catalog.close()


def test_among_all_of_a_level_a_model_that_learned_all_ranks_as_one_that_says_nothing_of_it(tmp_path: Path) -> None:
    catalog, model = tiny.catalog(tmp_path / "c", 40), tiny.model()
    learned = dict[str, np.ndarray]()
    with catalog.store.read() as txn:
        for name in tiny.TYPES:
            learned[name] = np.sort(np.array([sid for sid, _ in txn.sids(name)], np.uint64))
    work, said = RankWork(PROMPT, max_results=50), []
    for one in (model, replace(model, learned=learned)):
        with running.engine(one, catalog.reader, normalization=Normalization.LEVEL) as engine:
            (ranked,) = running.answer(engine, work)
            assert isinstance(ranked, RankedList)
            said.append([(row.codes, row.logprob) for row in ranked.ranked])
    assert said[0] == said[1]
    catalog.close()
