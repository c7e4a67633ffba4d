"""Compiled searches in ascending arrays: see `kernel`."""

from __future__ import annotations

from typing import Any

from neo_runtime.trie.compiled import compiled


@compiled
def lower_bound(sorted_values: Any, start: int, end: int, value: Any) -> int:
    while start < end:
        middle = (start + end) >> 1
        if sorted_values[middle] < value:
            start = middle + 1
        else:
            end = middle
    return start


@compiled
def lower_bound_near(sorted_values: Any, start: int, end: int, guess: int, value: Any) -> Any:
    """`lower_bound` where it is not far from `guess`, between `start` and `end`: in steps that double."""
    stride = 1
    if guess < end and sorted_values[guess] < value:
        start = guess + 1
        while start + stride <= end and sorted_values[start + stride - 1] < value:
            start += stride
            stride *= 2
        return lower_bound(sorted_values, start, min(end, start + stride - 1), value)
    end = guess
    while end - stride >= start and sorted_values[end - stride] >= value:
        end -= stride
        stride *= 2
    return lower_bound(sorted_values, max(start, end - stride), end, value)
