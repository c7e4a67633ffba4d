"""The compiled inner loops of the trie, through numba: pip alone brings them, also where there is no compiler.

Each has a numpy twin elsewhere in this package that it must equal bit for bit (`tests/property/test_kernel.py`), except
the normaliser, which agrees within 1e-6. All of them release the GIL and allocate nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Not `fast`: infinities are scores here. Without NaN and with reordered sums, loops become vector instructions.
_FLAGS = {"nnan", "nsz", "reassoc", "contract", "arcp"}
_ALL_CODES = 1 << 16
_SPARSE = 4  # children for each allowed row from which it is better to look for the rows
BLOCK = 16  # codes whose best is looked at before any of them is

_LOG2_E, _BIAS, _MANTISSA = np.float32(1.4426950408889634), np.float32(127 * (1 << 23)), np.float32(1 << 23)
_LEAST = np.float32(-126)  # exponents below are zero in float32
# 2 ** x between -1/2 and 1/2 within 4e-6 of itself.
_P0, _P1, _P2 = np.float32(0.99999943), np.float32(0.69314666), np.float32(0.24023849)
_P3, _P4 = np.float32(0.05591786), np.float32(0.0096740946)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at first use; kept on disk for the next process wherever numba finds a place to write."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FLAGS, "error_model": "numpy", "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable place
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


@compiled
def normalize(logits: Any, tops: Any, norms: Any) -> None:
    """What `step` wants to know of every row of float32 [rows, codes]: the best of each block of 16 codes (`tops`
    float32 [rows, codes / 16, rounded up]) and the logarithm of the sum of exponentials (`norms` float32 [rows]).
    """
    codes = logits.shape[1]
    whole_blocks = codes // BLOCK
    for row in range(logits.shape[0]):
        line, blocks = logits[row], tops[row]
        for block in range(whole_blocks):
            best = line[block * BLOCK]
            for ahead in range(BLOCK):
                best = max(best, line[block * BLOCK + ahead])
            blocks[block] = best
        if codes > whole_blocks * BLOCK:
            best = line[whole_blocks * BLOCK]
            for code in range(whole_blocks * BLOCK, codes):
                best = max(best, line[code])
            blocks[whole_blocks] = best
        top = blocks[0]
        for block in range(len(blocks)):
            top = max(top, blocks[block])
        shift, total = top * _LOG2_E, np.float32(0)
        for code in range(codes):
            power = max(line[code] * _LOG2_E - shift, _LEAST)
            whole = np.rint(power)
            part = power - whole
            # 2 ** part by a polynomial, 2 ** whole by writing the exponent.
            scaled = (((_P4 * part + _P3) * part + _P2) * part + _P1) * part + _P0
            total += scaled * np.int32(whole * _MANTISSA + _BIAS).view(np.float32)
        norms[row] = top + np.log(total)


@compiled
def _lower_bound(sorted_values: Any, start: int, end: int, value: Any) -> int:
    while start < end:
        middle = (start + end) >> 1
        if sorted_values[middle] < value:
            start = middle + 1
        else:
            end = middle
    return start


@compiled
def _rank(words: Any, before: Any, place: int) -> Any:
    word = words[place >> 6] & ((np.uint64(1) << np.uint64(place & 63)) - np.uint64(1))
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64(before[place >> 6]) + np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _is_live(node: int, dead: Any, words: Any, before: Any, bounds: Any) -> bool:
    """Whether a node has an allowed row: by rank where there are bits, else by the list of dead nodes."""
    if len(words):
        if len(bounds):
            return bool(_rank(words, before, bounds[node + 1]) > _rank(words, before, bounds[node]))
        return bool((words[node >> 6] >> np.uint64(node & 63)) & np.uint64(1))
    if not len(dead):
        return True
    place = _lower_bound(dead, 0, len(dead), node)
    return bool(place == len(dead) or dead[place] != node)


@compiled
def _entry(score: Any, row: int, code: int) -> Any:
    """A candidate as one number: the higher the better, of equal scores the earlier in (row, code) order."""
    bits = np.float32(score).view(np.uint32)
    rising = ~bits if bits >> np.uint32(31) else bits | np.uint32(1 << 31)
    if score == 0:  # both zeros alike
        rising = np.uint32(1 << 31)
    order = (np.uint64(row) << np.uint64(16)) | np.uint64(code)
    return (np.uint64(rising) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - order)


@compiled
def _score(entry: Any) -> Any:
    rising = np.uint32(entry >> np.uint64(32))
    bits = rising ^ np.uint32(1 << 31) if rising >> np.uint32(31) else ~rising
    return np.uint32(bits).view(np.float32)


@compiled
def _sink(heap: Any, size: int, entry: Any) -> None:
    """Put `entry` in the place of the heap's top, its worst entry, and restore the heap."""
    place = 0
    child = 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = entry


@compiled
def _offer(heap: Any, size: int, entry: Any) -> int:
    """Keep a candidate that is among the best so far; returns how many are kept."""
    if size < len(heap):
        place = size
        while place and heap[(place - 1) >> 1] > entry:
            heap[place] = heap[(place - 1) >> 1]
            place = (place - 1) >> 1
        heap[place] = entry
        return size + 1
    if entry > heap[0]:
        _sink(heap, size, entry)
    return size


@compiled
def _live_child(
    parent: int, code: int, first: Any, codes: Any, dead: Any, words: Any, before: Any, bounds: Any
) -> int:  # fmt: skip
    """The child of a node (-1: of none) with this code, -1 where there is none or it is not live."""
    if parent < 0:
        return -1
    end = first[parent + 1]
    child: int = _lower_bound(codes, first[parent], end, code)
    if child < end and codes[child] == code and _is_live(child, dead, words, before, bounds):
        return child
    return -1


@compiled
def _offer_base(
    heap: Any, size: int, logits: Any, tops: Any, row: int, first_row: int, offset: Any, child: int, end: int,
    codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> int:  # fmt: skip
    """Offer the live ones of the base's children [child, end) of one prefix; returns how many are kept."""
    least = _least(heap, size)
    is_filtered = len(words) > 0
    if not is_filtered and len(dead):
        place = _lower_bound(dead, 0, len(dead), child)
        is_filtered = place < len(dead) and dead[place] < end
    blocks = tops.shape[1]
    count = blocks if end - child >= blocks else 1  # few children: all in one
    for block in range(count):
        stop, last = end, _ALL_CODES
        if count > 1:
            if not offset + tops[row, block] >= least:
                continue
            child = _lower_bound(codes, child, end, block * BLOCK)
            stop, last = min(end, child + BLOCK), (block + 1) * BLOCK
        while child < stop and codes[child] < last:
            score = offset + logits[row, codes[child]]
            if score >= least and (not is_filtered or _is_live(child, dead, words, before, bounds)):
                size = _offer(heap, size, _entry(score, row - first_row, codes[child]))
                least = _least(heap, size)
            child += 1
    return size


@compiled
def _offer_allowed(
    heap: Any, size: int, logits: Any, row: int, first_row: int, offset: Any, child: int, end: int,
    codes: Any, words: Any, bounds: Any,
) -> int:  # fmt: skip
    """The same where few rows are allowed: from one set bit to the next, over all children without any."""
    place, last = (bounds[child], bounds[end]) if len(bounds) else (child, end)
    while True:
        word = words[place >> 6] >> np.uint64(place & 63)
        while not word:
            place = ((place >> 6) + 1) << 6
            if place >= last:
                return size
            word = words[place >> 6]
        while not word & np.uint64(1):
            word >>= np.uint64(1)
            place += 1
        if place >= last:
            return size
        if len(bounds):
            child = _lower_bound(bounds, child, end, place + 1) - 1
            place = bounds[child + 1]
        else:
            child = place
            place += 1
        size = _offer(heap, size, _entry(offset + logits[row, codes[child]], row - first_row, codes[child]))
        if place >= last:
            return size


@compiled
def _offer_delta(
    heap: Any, size: int, logits: Any, row: int, first_row: int, offset: Any, node: int, base_node: int,
    base_first: Any, base_codes: Any, base_dead: Any, base_words: Any, base_before: Any, base_bounds: Any,
    first: Any, codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> int:  # fmt: skip
    """Offer the delta's live children of one prefix that the base's side has not offered already."""
    for child in range(first[node], first[node + 1]):
        score = offset + logits[row, codes[child]]
        if score >= _least(heap, size) and _is_live(child, dead, words, before, bounds):
            twin = _live_child(
                base_node, codes[child], base_first, base_codes, base_dead, base_words, base_before, base_bounds
            )
            if twin < 0:
                size = _offer(heap, size, _entry(score, row - first_row, codes[child]))
    return size


@compiled
def _least(heap: Any, size: int) -> Any:
    """The score that a candidate must reach."""
    return _score(heap[0]) if size == len(heap) else np.float32(-np.inf)


@compiled
def step(
    logits: Any, row_scores: Any, norms: Any, tops: Any, normalizes: bool, starts: Any, base_nodes: Any,
    delta_nodes: Any,
    base_first: Any, base_codes: Any, base_dead: Any, base_words: Any, base_before: Any, base_bounds: Any,
    delta_first: Any, delta_codes: Any, delta_dead: Any, delta_words: Any, delta_before: Any, delta_bounds: Any,
    heap: Any, scores: Any, rows: Any, codes: Any, out_base: Any, out_delta: Any, counts: Any,
) -> None:  # fmt: skip
    """The best live children of the prefixes of every request, as many as `heap` (uint64) is long.

    A child scores (row_scores[row] - norms[row]) + logits[row, code], all float32. `normalizes`: `norms` and `tops` are
    computed here (see `normalize`), a request at a time while its logits are in the cache; else they are given. Request
    b has the rows [starts[b], starts[b + 1]). Of each segment: the first children and codes of this depth; the dead
    nodes of the next depth, or a bitmap with its ranks and the row bounds of the next depth's nodes. Out, per request,
    best first, ties in order of (row, code): scores, rows, codes, and the nodes in both segments (-1: in none);
    `counts` says how many there are.
    """
    for request in range(len(counts)):
        first_row, end_row, size = starts[request], starts[request + 1], 0
        if normalizes:
            normalize(logits[first_row:end_row], tops[first_row:end_row], norms[first_row:end_row])
        for row in range(first_row, end_row):
            offset = row_scores[row] - norms[row]
            node = base_nodes[row]
            if node >= 0:
                child, end = base_first[node], base_first[node + 1]
                allowed = end - child
                if len(base_words):
                    low, high = (base_bounds[child], base_bounds[end]) if len(base_bounds) else (child, end)
                    allowed = _rank(base_words, base_before, high) - _rank(base_words, base_before, low)
                if allowed * _SPARSE < end - child:
                    if allowed:
                        size = _offer_allowed(
                            heap, size, logits, row, first_row, offset, child, end, base_codes, base_words, base_bounds,
                        )  # fmt: skip
                else:
                    size = _offer_base(
                        heap, size, logits, tops, row, first_row, offset, child, end,
                        base_codes, base_dead, base_words, base_before, base_bounds,
                    )  # fmt: skip
            if delta_nodes[row] >= 0:
                size = _offer_delta(
                    heap, size, logits, row, first_row, offset, delta_nodes[row], node,
                    base_first, base_codes, base_dead, base_words, base_before, base_bounds,
                    delta_first, delta_codes, delta_dead, delta_words, delta_before, delta_bounds,
                )  # fmt: skip
        counts[request] = size
        for left in range(size - 1, -1, -1):  # the worst goes last
            entry = heap[0]
            _sink(heap, left, heap[left])
            order = np.uint64(0xFFFFFFFF) - (entry & np.uint64(0xFFFFFFFF))
            parent, code = first_row + np.int64(order >> np.uint64(16)), np.int64(order & np.uint64(0xFFFF))
            scores[request, left], rows[request, left], codes[request, left] = _score(entry), parent - first_row, code
            out_base[request, left] = _live_child(
                base_nodes[parent], code, base_first, base_codes, base_dead, base_words, base_before, base_bounds
            )
            out_delta[request, left] = _live_child(
                delta_nodes[parent], code, delta_first, delta_codes, delta_dead, delta_words, delta_before,
                delta_bounds,
            )  # fmt: skip


@compiled
def count_nodes(keys: Any, least: Any) -> int:
    """How many of `keys` (uint64 [n], ascending) differ from the one before by at least `least`, the first included."""
    nodes = 1
    for i in range(1, len(keys)):
        nodes += (keys[i] ^ keys[i - 1]) >= least
    return nodes


@compiled
def fill_level(keys: Any, shift: Any, mask: Any, above: Any, codes: Any, first: Any) -> int:
    """One level: the code of every node, and in `first` where the children of every node of the depth above begin;
    returns the number of nodes. A key that differs from the one before by at least 1 << `shift` begins a node, by at
    least `above` also one of the depth above; at the root's level `above` is 0.

    Without a branch: a node's code is written again by each of its keys, the end of its parent's run by each child.
    """
    least = np.uint64(1) << shift
    node, parent = 0, 0
    codes[0] = (keys[0] >> shift) & mask
    if not above:
        for i in range(1, len(keys)):
            node += (keys[i] ^ keys[i - 1]) >= least
            codes[node] = (keys[i] >> shift) & mask
        first[0], first[1] = 0, node + 1
        return node + 1
    first[0], first[1] = 0, 1
    for i in range(1, len(keys)):
        difference = keys[i] ^ keys[i - 1]
        node += difference >= least
        parent += difference >= above
        codes[node] = (keys[i] >> shift) & mask
        first[parent + 1] = node + 1
    return node + 1


@compiled
def fill_levels(keys: Any, shifts: Any, masks: Any, codes: Any, first: Any, counts: Any) -> None:
    """All levels into rows of `codes` [levels, n] and `first` [levels, n + 1], with the nodes of each in `counts`."""
    above = np.uint64(0)
    for level in range(len(shifts)):
        counts[level] = fill_level(keys, shifts[level], masks[level], above, codes[level], first[level])
        above = np.uint64(1) << shifts[level]
