"""The prefix cache gives back the columns of exactly the tokens that were asked for, within its budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neo_runtime.engine.prefix_cache import PrefixCache

TOKENS = st.lists(st.integers(0, 2), max_size=9).map(tuple)
# Few letters and common beginnings: paths meet, part, and end inside one another.
LONG = st.builds(lambda head, times, tail: head * times + tail, TOKENS, st.integers(1, 3), TOKENS)
CALLS = st.lists(st.tuples(st.sampled_from(["insert", "find"]), LONG), max_size=30)
LAYERS, HEADS, WIDTH = 4, 2, 3
COLUMN_BYTES = LAYERS * HEADS * WIDTH * 8
AMPLE = 10**9


def columns(tokens: Sequence[int]) -> torch.Tensor:
    """Each tells its token, its place and its whole path: [LAYERS, HEADS, n, WIDTH], float64."""
    paths = list(accumulate(tokens, lambda path, token: path * 3 + token + 1, initial=0))[1:]
    each = torch.tensor(list(zip(tokens, range(len(tokens)), paths, strict=True)), dtype=torch.float64)
    layers = torch.arange(LAYERS * HEADS, dtype=torch.float64).view(LAYERS, HEADS, 1, 1)
    return each.view(-1, WIDTH) + layers / 8


def reader(tokens: Sequence[int]) -> Callable[[int, int], torch.Tensor]:
    return lambda start, end: columns(tokens)[:, :, start:end].clone()


def found(cache: PrefixCache, tokens: Sequence[int]) -> int:
    """How many of the tokens are remembered; their columns are right."""
    parts = cache.find(tokens)
    assert all(part.shape[2] for part in parts)
    length = sum(part.shape[2] for part in parts)
    if parts:
        assert torch.equal(torch.cat(parts, dim=2), columns(tokens)[:, :, :length])
    return length


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def kept(cache: PrefixCache, inserted: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Columns that can be found, and bytes of memory that they hold on to."""
    beginnings, memory = set(), dict[int, int]()
    for tokens in inserted:
        beginnings |= {tokens[:length] for length in range(1, found(cache, tokens) + 1)}
        for part in cache.find(tokens):
            storage = part.untyped_storage()
            memory[storage.data_ptr()] = storage.nbytes()
    return len(beginnings), sum(memory.values())


@given(CALLS, st.one_of(st.just(AMPLE), st.integers(0, 40 * COLUMN_BYTES)))
@settings(max_examples=500, deadline=None)
def test_what_is_found_is_what_was_remembered(calls: list[tuple[str, tuple[int, ...]]], budget: int) -> None:
    cache, inserted = PrefixCache(budget), list[tuple[int, ...]]()
    for call, tokens in calls:
        if call == "insert":
            cache.insert(tokens, reader(tokens))
            inserted.append(tokens)
        longest = max((shared(tokens, other) for other in inserted), default=0)
        length = found(cache, tokens)
        assert length == longest if budget == AMPLE else length <= longest
        assert cache.nbytes <= budget
        # Every byte is of a column that can be found, once: nothing of what was split or forgotten is left.
        reachable, memory = kept(cache, inserted)
        assert cache.nbytes == reachable * COLUMN_BYTES == memory


@given(CALLS, st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_what_was_used_last_stays_where_it_fits(calls: list[tuple[str, tuple[int, ...]]], size: int) -> None:
    cache = PrefixCache(size * COLUMN_BYTES)
    for call, tokens in calls:
        before = found(cache, tokens)
        if call == "insert":
            cache.insert(tokens, reader(tokens))
            if len(tokens) <= size:
                assert found(cache, tokens) == len(tokens)
            else:
                assert found(cache, tokens) <= size
        else:
            assert found(cache, tokens) == before


def test_what_was_not_used_for_longest_goes_first_and_ends_before_beginnings() -> None:
    cache = PrefixCache(6 * COLUMN_BYTES)
    for tokens in ((0, 0, 0, 0), (0, 0, 1, 1)):  # one beginning, two ends
        cache.insert(tokens, reader(tokens))
    assert found(cache, (0, 0, 0, 0)) == 4
    cache.insert((2,), reader((2,)))
    assert [found(cache, tokens) for tokens in ((0, 0, 1, 1), (0, 0, 0, 0), (2,))] == [2, 4, 1]
    cache.insert((1, 1, 1), reader((1, 1, 1)))
    assert [found(cache, tokens) for tokens in ((0, 0, 0, 0), (2,), (1, 1, 1))] == [2, 1, 3]


def test_nothing_is_read_of_what_is_known_and_nothing_where_nothing_may_be_kept() -> None:
    def never(start: int, end: int) -> torch.Tensor:
        raise AssertionError((start, end))

    cache = PrefixCache(AMPLE)
    cache.insert((0, 1, 2), reader((0, 1, 2)))
    cache.insert((0, 1), never)
    cache.insert((), never)
    PrefixCache(0).insert((0, 1), never)
