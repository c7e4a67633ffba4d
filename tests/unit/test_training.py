"""Samples become the tokens that serving uses, and the loss is where it should be."""

from __future__ import annotations

from neo_runtime.prompt.message import Task, TaskPrompt
from neo_runtime.prompt.render import PromptRenderer
from neo_runtime.prompt.tasks import say
from neo_runtime.training.examples import Example, ExampleWriter, Sample
from neo_runtime.training.losses import IGNORED
from neo_runtime.types import ItemKey
from tests.kit import learning, tiny

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
    batch = learning.padded([Example([4, 5], [False, True]), Example([1, 2, 3], [False, True, True])])
    tokens, targets = batch["input_ids"], batch["labels"]
    assert tokens.tolist() == [[4, 5, 0], [1, 2, 3]]
    assert targets.tolist() == [[5, IGNORED, IGNORED], [2, 3, IGNORED]]
