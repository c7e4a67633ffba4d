"""Samples become the tokens that serving uses, the loss is where it should be, and the loop learns."""

from __future__ import annotations

from itertools import cycle, islice, repeat

import numpy as np
import pytest
import torch

from neo_runtime.prompt.message import Conversation, Task, TaskPrompt, Turn
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say
from neo_runtime.training.examples import Example, ExampleWriter, Sample
from neo_runtime.training.loop import Recipe, batches, train
from neo_runtime.training.losses import IGNORED
from neo_runtime.types import ItemKey
from tests.kit import tiny

FILM, BOOK = ItemKey("film", "a"), ItemKey("book", "b")
SIDS = {FILM: 77, BOOK: 9}
SAMPLE = Sample(say(TaskPrompt(Task.EXPLAIN, "book"), (FILM,)), ("Try ", BOOK, ": it is good."))


def test_the_prompt_is_the_one_that_serving_renders_and_the_answer_ends() -> None:
    model = tiny.model()
    renderer = PromptRenderer(model.tokenizer, model.vocabulary)
    example = ExampleWriter(model, SIDS).write(SAMPLE)
    prompt = renderer.render(SAMPLE.conversation, SIDS)
    assert example.tokens[: len(prompt)] == prompt
    answer = example.tokens[len(prompt) :]
    assert answer == [
        *renderer.text("Try "), *renderer.item(BOOK, SIDS[BOOK]), *renderer.text(": it is good."),
        model.tokenizer.eos_token_id,
    ]  # fmt: skip


def test_the_loss_is_on_the_answer_alone_or_on_the_codes_of_the_history_too() -> None:
    model = tiny.model()
    plain = ExampleWriter(model, SIDS).write(SAMPLE)
    prompt_size = len(PromptRenderer(model.tokenizer, model.vocabulary).render(SAMPLE.conversation, SIDS))
    assert plain.learned == [place >= prompt_size for place in range(len(plain.tokens))]
    history = ExampleWriter(model, SIDS, learn_history=True).write(SAMPLE)
    extra = [token for token, a, b in zip(*history, plain.learned, strict=True) if a and not b]
    assert extra == model.vocabulary.span("film", model.vocabulary.spaces["film"].unpack_one(77))[1:-1]


def test_a_batch_predicts_the_next_token_and_padding_nothing() -> None:
    examples = [Example([1, 2, 3], [False, True, True]), Example([4, 5], [False, True])]
    ((tokens, targets),) = batches(examples, Recipe(1, batch_tokens=100))
    assert tokens.tolist() == [[4, 5, 0], [1, 2, 3]]
    assert targets.tolist() == [[5, IGNORED, IGNORED], [2, 3, IGNORED]]


def test_batches_hold_every_example_once_and_keep_their_size() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(2, 50, 2_000).tolist()
    examples = [Example([1] * size, [True] * size) for size in sizes]
    cut = list(batches(examples, Recipe(1, batch_tokens=256)))
    assert sum((targets != IGNORED).sum() for _, targets in cut) == sum(sizes) - len(sizes)
    assert max(tokens.size for tokens, _ in cut) <= 256


def test_the_rate_warms_up_then_falls_to_its_end() -> None:
    recipe = Recipe(1_000, warmup_steps=100)
    rates = [recipe.rate(step) for step in range(1_000)]
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[99] == pytest.approx(recipe.peak_rate)
    assert rates[-1] == pytest.approx(recipe.final_rate, rel=0.01)


def test_training_learns_and_repeats_itself() -> None:
    samples = [
        Sample(Conversation((Turn("user", (f"item {number}",)),)), (ItemKey("film", str(number)),))
        for number in range(8)
    ]
    sids = {ItemKey("film", str(number)): 37 * number for number in range(8)}
    losses = []
    for _ in range(2):
        model = tiny.model()
        examples = map(ExampleWriter(model, sids).write, cycle(samples))
        losses.append(train(model.lm, examples, Recipe(60, batch_tokens=128, warmup_steps=5, peak_rate=1e-2)))
        assert not model.lm.training
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0] / 5


def test_training_stops_where_the_examples_do() -> None:
    model = tiny.model()
    example = ExampleWriter(model, SIDS).write(SAMPLE)
    losses = train(model.lm, islice(repeat(example), 10), Recipe(1_000, batch_tokens=64))
    assert 0 < len(losses) < 20
    assert torch.isfinite(torch.tensor(losses)).all()
