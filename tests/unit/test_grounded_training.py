"""Losses, batches, what a stage may change, and runs that stop and go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from neo_runtime.engine.span import Normalization
from neo_runtime.errors import ModelError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.training.batches import Batches, equal_cuts
from neo_runtime.training.examples import Example, ExampleWriter
from neo_runtime.training.grounded import GroundedLM, Trained, with_lora
from neo_runtime.training.losses import IGNORED, TokenGroups
from neo_runtime.training.progress import Told
from neo_runtime.training.rows import start_from_centroids, start_words_from_items
from neo_runtime.training.trainer import Optimization, fit
from tests.kit import learning, tiny

BOTH = pytest.mark.parametrize("make", [tiny.model, tiny.llama], ids=["tied qwen3", "untied llama"])


def batch_of(model: NeoModel, count: int = 6) -> dict[str, torch.Tensor]:
    write = ExampleWriter(model, learning.SIDS, learn_history=True).write
    return learning.padded([write(learning.Histories().sample(number)) for number in range(count)])


def reference_loss(model: NeoModel, batch: dict[str, torch.Tensor], normalization: Normalization) -> float:
    """Position by position, from the model's own logits."""
    logits = model.lm(input_ids=batch["input_ids"]).logits.detach()
    vocabulary, losses = model.vocabulary, []
    levels = [
        tokens(vocabulary.level_tokens(name, level))
        for name, space in vocabulary.spaces.items()
        for level in range(1, space.levels)
    ]
    firsts = np.concatenate([tokens(vocabulary.level_tokens(name, 0)) for name in vocabulary.spaces])
    text = tokens(slice(0, vocabulary.span_open + 1))
    for row, place in zip(*np.nonzero(batch["labels"].numpy() != IGNORED), strict=True):
        target = int(batch["labels"][row, place])
        run = tokens(slice(0, vocabulary.size))
        if normalization is not Normalization.VOCABULARY:
            if target == vocabulary.span_close:
                continue
            run = next(run for run in (text, firsts, *levels) if target in run)
        if normalization is Normalization.LEARNED and target > vocabulary.span_close and target not in firsts:
            run = learned_beside(vocabulary, batch["input_ids"][row, : place + 1].tolist(), target)
        losses.append(float(cross_entropy(logits[row, place, run], torch.tensor(np.flatnonzero(run == target)[0]))))
    return float(np.mean(losses))


def test_a_code_whose_prefix_was_cut_off_is_compared_with_all_of_its_level() -> None:
    model, (key, *_) = tiny.model(), learning.KEYS
    codes = model.vocabulary.spaces[key.type].unpack_one(learning.SIDS[key])
    _, _, before, code, _ = model.vocabulary.span(key.type, codes)
    groups = TokenGroups(model.vocabulary, Normalization.LEARNED, learning.learned())
    module = GroundedLM(model, groups, Trained.ALL).eval()
    tokens, labels = torch.tensor([[before, 5]]), torch.tensor([[code, IGNORED]])
    run = model.vocabulary.level_tokens(key.type, 2)
    wanted = cross_entropy(model.lm(tokens).logits[0, 0, run], torch.tensor(code - run.start))
    assert float(module(tokens, labels)["loss"]) == pytest.approx(float(wanted), rel=1e-5)


def learned_beside(vocabulary: Vocabulary, before: list[int], target: int) -> np.ndarray:
    """The tokens of codes that learned tuples have after the same prefix."""
    found = set()
    for key, sid in learning.SIDS.items():
        path = [vocabulary.span_open, *vocabulary.span(key.type, vocabulary.spaces[key.type].unpack_one(sid))[1:-1]]
        found |= {code for depth, code in enumerate(path) if depth and before[-depth:] == path[:depth]}
    assert target in found
    return np.array(sorted(found))


def tokens(run: slice) -> np.ndarray:
    return np.arange(run.start, run.stop)


@BOTH
@pytest.mark.parametrize("normalization", list(Normalization))
@pytest.mark.parametrize("trained", [Trained.ROWS, Trained.ALL])
def test_the_loss_is_what_serving_compares(make: Any, normalization: Normalization, trained: Trained) -> None:
    model = make()
    groups = TokenGroups(model.vocabulary, normalization, learning.learned())
    batch = batch_of(model)
    if groups.never_learned is not None:
        batch["labels"][batch["labels"] == groups.never_learned] = IGNORED
    module = GroundedLM(model, groups, trained)
    assert float(module(**batch)["loss"].detach()) == pytest.approx(
        reference_loss(model, batch, normalization), rel=1e-5
    )


@BOTH
def test_alignment_changes_the_new_rows_and_not_one_bit_of_anything_else(make: Any, tmp_path: Path) -> None:
    model = make()
    before = learning.weights(model)
    learning.train(model, tmp_path, trained=Trained.ROWS)
    own = slice(model.vocabulary.text_size, model.vocabulary.size)
    named = {
        id(value): name for name, value in model.lm.state_dict(keep_vars=True).items()
    }  # tied weights stand under two names
    changed = {named[id(model.lm.get_input_embeddings().weight)], named[id(model.lm.get_output_embeddings().weight)]}
    for name, value in learning.weights(model).items():
        if name in changed or name in ("lm_head.weight", "model.embed_tokens.weight"):
            assert not np.array_equal(value[own], before[name][own])
            value[own] = before[name][own]
        assert value.tobytes() == before[name].tobytes(), name


def test_instruction_tuning_changes_every_weight(tmp_path: Path) -> None:
    model = tiny.model()
    before = learning.weights(model)
    learning.train(model, tmp_path)
    assert [name for name, value in learning.weights(model).items() if np.array_equal(value, before[name])] == []


def test_lora_leaves_a_plain_model_and_the_frozen_parts_alone(tmp_path: Path) -> None:
    model = tiny.llama()
    before = learning.weights(model)
    merge = with_lora(model, 4, 8, 0.0)
    learning.train(model, tmp_path, trained=Trained.LORA)
    merge()
    after = learning.weights(model)
    assert after.keys() == before.keys()
    same = [name for name, value in after.items() if np.array_equal(value, before[name])]
    assert sorted(same) == sorted(name for name in before if "norm" in name)


def test_a_sample_in_a_batch_has_the_logits_that_it_has_alone() -> None:
    model = tiny.model()
    module = GroundedLM(model, TokenGroups(model.vocabulary, Normalization.LEVEL), Trained.ALL).eval()
    write = ExampleWriter(model, learning.SIDS).write
    examples = [write(learning.Histories().sample(number)) for number in range(8)]
    together = module.states(learning.padded(examples)["input_ids"])
    for row, example in enumerate(examples):
        alone = module.states(torch.tensor([example.tokens]))[0]
        assert torch.allclose(together[row, : len(alone)], alone, atol=1e-5)


def test_samples_change_nothing_for_others_in_their_batch() -> None:
    """Not a bit: another neighbour of the same length leaves a row's states as they were."""
    model = tiny.model()
    module = GroundedLM(model, TokenGroups(model.vocabulary, Normalization.LEVEL), Trained.ALL).eval()
    ones = module.states(torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]))
    others = module.states(torch.tensor([[5, 6, 7, 8], [9, 9, 9, 9]]))
    assert torch.equal(ones[0], others[0])


def test_any_batch_can_be_made_without_those_before_it() -> None:
    model = tiny.model()
    write = ExampleWriter(model, learning.SIDS).write
    first, second = (Batches(learning.Histories(), write, batch_tokens=300, count=100) for _ in range(2))
    in_order = [first[number] for number in range(80)]
    for number in (79, 3, 40):
        assert torch.equal(second[number]["input_ids"], in_order[number]["input_ids"])
    sizes = [batch["input_ids"].numel() for batch in in_order]
    assert np.mean(sizes) == pytest.approx(300, rel=0.15)
    assert max(sizes) < 500


def test_a_pool_is_cut_into_as_many_batches_as_it_should_be() -> None:
    random = np.random.default_rng(0)
    for lengths in (np.ones(32), np.array([1] * 40 + [10_000]), random.integers(1, 500, 1_000)):
        cuts = equal_cuts(np.sort(lengths).astype(np.int64), 32)
        assert cuts[0] == 0
        assert cuts[-1] == len(lengths)
        assert (np.diff(cuts) > 0).all()
        assert len(cuts) == 33


def test_padding_and_the_closing_marker_are_nothing_to_learn() -> None:
    batch = learning.padded([Example([1, 2, 3, 9], [True] * 4), Example([4, 5], [False, True])], never_learned=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9], [4, 5, 0, 0]]
    assert batch["labels"].tolist() == [[2, 3, IGNORED, IGNORED], [5, IGNORED, IGNORED, IGNORED]]


class Interrupt(TrainerCallback):  # type: ignore[misc]
    """As a person or a machine does it: in the middle, not at a checkpoint."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("trained", [Trained.ROWS, Trained.ALL])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(trained: Trained, tmp_path: Path) -> None:
    """Bit for bit, dropout and accumulation included, and the file of metrics too."""
    ends, files = [], []
    for name, stops in (("whole", ()), ("interrupted", (6, 9))):
        file = tmp_path / f"{name}.jsonl"
        for stop in (*stops, None):
            model = tiny.model()
            callbacks: list[TrainerCallback] = [Told("instruct", file, Console(quiet=True))]
            callbacks += [Interrupt(stop)] if stop else []
            try:
                learning.train(
                    model, tmp_path / name, trained=trained, callbacks=callbacks, dropout_share=0.1, accumulation=2
                )
            except KeyboardInterrupt:
                continue
        ends.append(learning.weights(model))
        files.append([json.loads(line) for line in file.read_text().splitlines()])
    for name, value in ends[0].items():
        assert value.tobytes() == ends[1][name].tobytes(), name
    losses = [[(line["step"], line["loss"]) for line in lines] for lines in files]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, 13))


def test_two_accumulated_halves_are_one_batch(tmp_path: Path) -> None:
    """Equal up to rounding: every target counts once, though the halves have different numbers of them."""
    write = ExampleWriter(tiny.model(), learning.SIDS).write
    examples = [write(learning.Histories().sample(number)) for number in range(9)]
    file = tmp_path / "metrics.jsonl"
    for batches in ([learning.padded(examples)], [learning.padded(examples[:2]), learning.padded(examples[2:])]):
        model, told = tiny.model(), Told(str(len(batches)), file, Console(quiet=True))
        module = GroundedLM(model, TokenGroups(model.vocabulary, Normalization.LEVEL), Trained.ALL)
        optimization = Optimization(1, 1e-2, warmup_steps=0, accumulation=len(batches), log_steps=1)
        fit(module, batches, optimization, tmp_path / str(len(batches)), [told], use_cpu=True)  # type: ignore[arg-type]
    whole, halves = (json.loads(line) for line in file.read_text().splitlines())
    assert whole["loss"] == pytest.approx(halves["loss"], rel=1e-4)
    assert whole["gradient_norm"] == pytest.approx(halves["gradient_norm"], rel=1e-4)


def test_training_learns(tmp_path: Path) -> None:
    model, file = tiny.model(), tmp_path / "metrics.jsonl"
    learning.train(
        model, tmp_path / "run", steps=60, callbacks=[Told("instruct", file, Console(quiet=True))], checkpoint_steps=100
    )
    losses = [json.loads(line)["loss"] for line in file.read_text().splitlines()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    learning.train(tiny.model(), tmp_path, trained=Trained.ROWS, steps=4)
    with pytest.raises(ModelError, match="is not of this run"):
        learning.train(tiny.model(), tmp_path, trained=Trained.ALL, steps=8)


def test_words_start_towards_the_codes_of_their_items_and_keep_their_lengths() -> None:
    model = tiny.model()
    start_from_centroids(model)
    weight, size = model.lm.get_input_embeddings().weight.detach(), model.vocabulary.text_size
    lengths = weight[:size].norm(dim=1)
    codes = np.arange(40, dtype=np.uint16) % 2
    start_words_from_items(model, {"film": [("night", "river")[code] for code in codes]}, {"film": codes})
    assert torch.allclose(weight[:size].norm(dim=1), lengths, atol=1e-4)
    night, river = (set(model.tokenizer(word)["input_ids"]) for word in ("night", "river"))
    rows = weight[model.vocabulary.level_tokens("film", 0)]
    for code, own in enumerate((night - river, river - night)):
        assert int((rows @ weight[sorted(own)].mean(0)).argmax()) == code


def test_rows_start_as_near_to_each_other_as_their_centroids() -> None:
    model = tiny.model()
    start_from_centroids(model)
    rows = model.lm.get_input_embeddings().weight[model.vocabulary.level_tokens("film", 0)].detach().numpy()
    centroids = model.codebooks["film"].centroids[0]
    distances = [
        np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)]
        for points in (rows, centroids)
    ]
    assert np.corrcoef(*distances)[0, 1] > 0.999
