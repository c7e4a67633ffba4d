"""Streaming text is never torn, stop sequences never leak, sampling keeps to its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_runtime.engine.api import Decoding
from neo_runtime.engine.sampler import Sampler
from neo_runtime.engine.text import TextStream
from neo_runtime.model.fresh import fresh_tokenizer

TOKENIZER = fresh_tokenizer(["some text to learn from, ünïcödé 🎬 日本語 as well"], 320)


def encode(text: str) -> list[int]:
    tokens: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return tokens


@given(st.text(max_size=60))
def test_deltas_join_to_the_text_and_each_is_whole(text: str) -> None:
    stream = TextStream(TOKENIZER, ())
    deltas = [stream.push(token) for token in encode(text)]
    assert "".join(deltas) + stream.flush() == text
    assert all("\ufffd" not in delta or "\ufffd" in text for delta in deltas)


@given(st.text("abc🎬", max_size=30), st.lists(st.text("abc🎬", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_of_a_stop_sequence_is_sent(text: str, stops: list[str]) -> None:
    stream, sent = TextStream(TOKENIZER, stops), ""
    for token in encode(text):
        sent += stream.push(token)
        if stream.stopped_by:
            break
    if not stream.stopped_by:
        sent += stream.flush()
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    assert bool(stream.stopped_by) == bool(places)
    if not places:
        assert sent == text
    else:
        assert text.startswith(sent)
        assert not any(stop in sent for stop in stops)


scores = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30).map(lambda row: np.array(row, np.float32))


@given(scores)
def test_temperature_zero_is_greedy(row: np.ndarray) -> None:
    assert Sampler(Decoding()).choose(row) == int(np.argmax(row))


@given(scores, st.integers(1, 5), st.integers(0, 2**32))
def test_top_k_and_masked_tokens_are_kept_out(row: np.ndarray, top_k: int, seed: int) -> None:
    row[:: 2 if len(row) > 1 else len(row) + 1] = -np.inf if len(row) > 1 else row[0]
    sampler = Sampler(Decoding(temperature=1.0, top_k=top_k, seed=seed))
    allowed = set(np.argsort(-row, kind="stable")[:top_k].tolist())
    for _ in range(5):
        chosen = sampler.choose(row)
        assert chosen in allowed
        assert np.isfinite(row[chosen])


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    drawn = {Sampler(Decoding(temperature=1.0, top_p=0.7, seed=seed)).choose(row) for seed in range(200)}
    assert drawn == {0, 1}
    drawn = {Sampler(Decoding(temperature=1.0, top_p=1e-6, seed=seed)).choose(row) for seed in range(50)}
    assert drawn == {0}


@given(st.integers(0, 2**32), st.floats(0.01, 1.0), st.integers(0, 40), st.floats(0.1, 5.0))
def test_a_large_vocabulary_is_cut_as_if_it_were_sorted(
    seed: int, top_p: float, top_k: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    row = (rng.normal(size=3_000).astype(np.float32) * rng.choice([0.1, 3.0])).round(1)  # with ties
    order = np.argsort(-row, kind="stable")[: top_k or None]
    weights = np.exp((row[order] - row[order[0]]).astype(np.float64) / temperature)
    cumulative = np.cumsum(weights)
    allowed = order[: int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 2]  # one more: rounding of the sums
    sampler = Sampler(Decoding(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed))
    assert {sampler.choose(row) for _ in range(20)} <= set(allowed.tolist())


def test_sampling_follows_the_distribution() -> None:
    share = np.array([0.6, 0.3, 0.1])
    sampler = Sampler(Decoding(temperature=1.0, seed=0))
    drawn = np.bincount([sampler.choose(np.log(share).astype(np.float32)) for _ in range(6_000)], minlength=3) / 6_000
    assert drawn == pytest.approx(share, abs=0.03)
