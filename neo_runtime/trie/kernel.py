"""The compiled inner loops of the trie, through numba: pip alone brings them, also where there is no compiler.

Each has a numpy twin elsewhere in this package that it must equal bit for bit, but for the normaliser, which agrees
within 1e-6 (`tests/property/`). All of them release the GIL and allocate nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from neo_runtime.trie.prefetch import prefetch

# Not `fast`: infinities are scores here. Without NaN and with reordered sums, loops become vector instructions.
_FLAGS = {"nnan", "nsz", "reassoc", "contract", "arcp"}
_ALL_CODES = 1 << 16
_FEW = 16  # codes for each child from which it is better to look at the children alone
_LINE = 32  # codes in a cache line
_SPARSE = 4  # children for each allowed row from which it is better to look for the rows
ROOM = 32  # fresh candidates that are merged at once

_LOG2_E, _BIAS, _MANTISSA = np.float32(1.4426950408889634), np.float32(127 * (1 << 23)), np.float32(1 << 23)
_LEAST = np.float32(-126)  # exponents below are zero in float32
# 2 ** x between -1/2 and 1/2 within 4e-6 of itself.
_P0, _P1, _P2 = np.float32(0.99999943), np.float32(0.69314666), np.float32(0.24023849)
_P3, _P4 = np.float32(0.05591786), np.float32(0.0096740946)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at first use; kept on disk for the next process wherever numba finds a place to write."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FLAGS, "error_model": "numpy", "boundscheck": False}
    options["_nrt"] = False  # counting references to arrays, from loop to loop, would take half of a step
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no writable place
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


@compiled
def normalize(logits: Any, norms: Any) -> None:
    """The logarithm of the sum of exponentials of every row of float32 [rows, codes], into `norms` float32 [rows]."""
    for row in range(len(norms)):
        norms[row] = _normalizer(logits[row])[1]


@compiled
def _turned(bits: Any) -> Any:
    """The bits of a float32 as an int32 that rises with it, and back."""
    return np.int32(bits ^ np.int32((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@compiled
def _normalizer(line: Any) -> Any:
    """The highest of a row, and the logarithm of its sum of exponentials."""
    highest = np.int32(-(1 << 31))
    for code in range(len(line)):  # as whole numbers of the same order, whose maximum takes vector instructions
        bits = np.float32(line[code]).view(np.int32)
        highest = np.int32(max(highest, _turned(bits)))
    top = np.int32(_turned(highest)).view(np.float32)
    shift, total = top * _LOG2_E, np.float32(0)
    for code in range(len(line)):
        power = max(line[code] * _LOG2_E - shift, _LEAST)
        whole = np.rint(power)
        part = power - whole
        # 2 ** part by a polynomial, 2 ** whole by writing the exponent.
        scaled = (((_P4 * part + _P3) * part + _P2) * part + _P1) * part + _P0
        total += scaled * np.int32(whole * _MANTISSA + _BIAS).view(np.float32)
    return top, top + np.log(total)


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
    place = lower_bound(dead, 0, len(dead), node)
    return bool(place == len(dead) or dead[place] != node)


@compiled
def _entry(score: Any, row: int, code: int) -> Any:
    """A candidate as one number: the higher the better, of equal scores the earlier in (row, code) order."""
    rising = _turned(np.float32(score).view(np.int32))
    rising += rising == -1  # both zeros alike
    order = (np.uint64(row) << np.uint64(16)) | np.uint64(code)
    return (np.uint64(rising + (1 << 31)) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - order)


@compiled
def _score(entry: Any) -> Any:
    return np.int32(_turned(np.int32(np.int64(entry >> np.uint64(32)) - (1 << 31)))).view(np.float32)


@compiled
def _least(best: Any, kept: int) -> Any:
    """The score that a candidate must reach."""
    return _score(best[2, kept - 1]) if kept == best.shape[1] - ROOM - 1 else np.float32(-np.inf)


@compiled
def _merge(best: Any, kept: int, fresh: int) -> Any:
    """Sort the fresh candidates and merge them into the kept ones; returns how many are kept. See `step`."""
    for i in range(fresh):
        entry, rank = best[0, i], 0
        for j in range(fresh):
            rank += best[0, j] > entry
        best[1, rank], best[5, rank] = entry, best[4, i]
    best[1, fresh] = best[2, kept] = 0  # worse than any
    count = min(kept + fresh, best.shape[1] - ROOM - 1)
    old, new = 0, 0
    for i in range(count):
        ours, theirs = best[2, old], best[1, new]
        is_new = theirs > ours
        best[3, i] = max(ours, theirs)
        best[7, i] = best[5, new] if is_new else best[6, old]
        new += is_new
        old += not is_new
    for i in range(count):
        best[2, i], best[6, i] = best[3, i], best[7, i]
    return count


@compiled
def _live_child(
    parent: int, code: int, first: Any, codes: Any, dead: Any, words: Any, before: Any, bounds: Any
) -> Any:  # fmt: skip
    """The child of a node (-1: of none) with this code, -1 where there is none or it is not live."""
    if parent < 0:
        return -1
    end = first[parent + 1]
    child = lower_bound(codes, first[parent], end, code)
    return child if child < end and codes[child] == code and _is_live(child, dead, words, before, bounds) else -1


@compiled
def _offer(
    best: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int, codes: Any,
    is_filtered: bool, dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Offer the children [child, end) of one prefix, all of them live unless `is_filtered`; returns how many
    candidates are kept, and how many fresh.
    """
    least = _least(best, kept)
    while child < end:
        for place in range(child, min(end, child + ROOM - fresh)):
            score = offset + line[codes[place]]
            best[0, fresh], best[4, fresh] = _entry(score, row, codes[place]), place
            wanted = score >= least
            if is_filtered and wanted:
                wanted = _is_live(place, dead, words, before, bounds)
            fresh += wanted
            child += 1
        if fresh == ROOM:
            kept, fresh = _merge(best, kept, fresh), 0
            least = _least(best, kept)
    return kept, fresh


@compiled
def _mark(line: Any, offset: Any, least: Any, marks: Any) -> None:
    """Set the bytes of the codes whose score reaches `least`, clear the others."""
    for code in range(len(line)):
        marks[code] = offset + line[code] >= least


@compiled
def _offer_base(
    best: Any, marks: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int,
    codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Offer the live ones of the base's children [child, end) of one prefix."""
    is_filtered = len(words) > 0
    if not is_filtered and len(dead):
        place = lower_bound(dead, 0, len(dead), child)
        is_filtered = place < len(dead) and dead[place] < end
    if (end - child) * _FEW < len(line) or kept < best.shape[1] - ROOM - 1:  # or most are wanted
        return _offer(best, kept, fresh, line, row, offset, child, end, codes, is_filtered, dead, words, before, bounds)
    _mark(line, offset, _least(best, kept), marks)
    eights = marks.view(np.uint64)
    for eight in range(len(eights)):
        if eights[eight]:
            child = lower_bound(codes, child, end, 8 * eight)
            while child < end and codes[child] < 8 * eight + 8:
                if marks[codes[child]] and (not is_filtered or _is_live(child, dead, words, before, bounds)):
                    best[0, fresh], best[4, fresh] = _entry(offset + line[codes[child]], row, codes[child]), child
                    fresh += 1
                    if fresh == ROOM:
                        kept, fresh = _merge(best, kept, fresh), 0
                child += 1
    return kept, fresh


@compiled
def _offer_allowed(
    best: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int, codes: Any,
    words: Any, bounds: Any,
) -> Any:  # fmt: skip
    """The same where few rows are allowed: from one set bit to the next, over all children without any."""
    place, last = (bounds[child], bounds[end]) if len(bounds) else (child, end)
    while True:
        word = words[place >> 6] >> np.uint64(place & 63)
        while not word:
            place = ((place >> 6) + 1) << 6
            if place >= last:
                return kept, fresh
            word = words[place >> 6]
        while not word & np.uint64(1):
            word >>= np.uint64(1)
            place += 1
        if place >= last:
            return kept, fresh
        if len(bounds):
            child = lower_bound(bounds, child, end, place + 1) - 1
            place = bounds[child + 1]
        else:
            child = place
            place += 1
        kept, fresh = _offer(
            best, kept, fresh, line, row, offset, child, child + 1, codes, False, words, words, words, words
        )
        if place >= last:
            return kept, fresh


@compiled
def _offer_delta(
    best: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, node: int, base_node: int,
    base_first: Any, base_codes: Any, base_dead: Any, base_words: Any, base_before: Any, base_bounds: Any,
    first: Any, codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Offer the delta's live children of one prefix that the base's side has not offered already."""
    least = _least(best, kept)
    for child in range(first[node], first[node + 1]):
        score = offset + line[codes[child]]
        if score >= least and _is_live(child, dead, words, before, bounds):
            twin = _live_child(
                base_node, codes[child], base_first, base_codes, base_dead, base_words, base_before, base_bounds
            )
            if twin < 0:
                best[0, fresh], best[4, fresh] = _entry(score, row, codes[child]), np.uint64(0xFFFFFFFF)  # none
                fresh += 1
                if fresh == ROOM:
                    kept, fresh = _merge(best, kept, fresh), 0
                    least = _least(best, kept)
    return kept, fresh


@compiled
def _offer_row(
    best: Any, marks: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, base_node: int, delta_node: int,
    base_first: Any, base_codes: Any, base_dead: Any, base_words: Any, base_before: Any, base_bounds: Any,
    delta_first: Any, delta_codes: Any, delta_dead: Any, delta_words: Any, delta_before: Any, delta_bounds: Any,
) -> Any:  # fmt: skip
    """Offer the live children of one prefix, of both segments."""
    if base_node >= 0:
        child, end = base_first[base_node], base_first[base_node + 1]
        allowed = end - child
        if len(base_words):
            low, high = (base_bounds[child], base_bounds[end]) if len(base_bounds) else (child, end)
            allowed = _rank(base_words, base_before, high) - _rank(base_words, base_before, low)
        if allowed * _SPARSE >= end - child:
            kept, fresh = _offer_base(
                best, marks, kept, fresh, line, row, offset, child, end,
                base_codes, base_dead, base_words, base_before, base_bounds,
            )  # fmt: skip
        elif allowed:
            kept, fresh = _offer_allowed(
                best, kept, fresh, line, row, offset, child, end, base_codes, base_words, base_bounds
            )
    if delta_node >= 0:
        kept, fresh = _offer_delta(
            best, kept, fresh, line, row, offset, delta_node, base_node,
            base_first, base_codes, base_dead, base_words, base_before, base_bounds,
            delta_first, delta_codes, delta_dead, delta_words, delta_before, delta_bounds,
        )  # fmt: skip
    return kept, fresh


@compiled
def step(
    logits: Any, row_scores: Any, norms: Any, normalizes: bool, starts: Any, base_nodes: Any, delta_nodes: Any,
    base_first: Any, base_codes: Any, base_dead: Any, base_words: Any, base_before: Any, base_bounds: Any,
    delta_first: Any, delta_codes: Any, delta_dead: Any, delta_words: Any, delta_before: Any, delta_bounds: Any,
    best: Any, marks: Any, scores: Any, rows: Any, codes: Any, out_base: Any, out_delta: Any, counts: Any,
) -> None:  # fmt: skip
    """The best live children of the prefixes of every request, as many as `scores` has columns.

    A child scores (row_scores[row] - norm) + logits[row, code], all float32; the norm is norms[row], or where the step
    `normalizes` (see `normalize`), the row's own. Request b has the rows [starts[b], starts[b + 1]). Of each segment:
    the first children and codes of this depth; the dead nodes of the next depth, or a bitmap with its ranks and the row
    bounds of the next depth's nodes. Out, per request, best first, ties in order of (row, code): scores, rows, codes
    [requests, width], and flat the nodes in both segments (-1: in none); `counts` says how many there are.

    Candidates are in `best`, uint64 [8, width + ROOM + 1], as entries with their base nodes four rows below: in row 0
    fresh ones as they come, in row 2 those kept, best first; rows 1 and 3 are for merging. `marks`: uint8 [codes].
    """
    for node in base_nodes:
        prefetch(base_first, node)
    for request in range(len(counts)):
        first_row, end_row, kept, fresh = starts[request], starts[request + 1], 0, 0
        for row in range(first_row, end_row):
            node = max(base_nodes[row], 0)
            for child in range(base_first[node], base_first[node + 1], _LINE):
                prefetch(base_codes, child)
        for row in range(first_row, end_row):
            line = logits[row]
            top, norm = _normalizer(line) if normalizes else (np.float32(np.inf), norms[row])
            offset = row_scores[row] - norm
            if offset + top >= _least(best, kept):
                kept, fresh = _offer_row(
                    best, marks, kept, fresh, line, row - first_row, offset, base_nodes[row], delta_nodes[row],
                    base_first, base_codes, base_dead, base_words, base_before, base_bounds,
                    delta_first, delta_codes, delta_dead, delta_words, delta_before, delta_bounds,
                )  # fmt: skip
        counts[request] = kept = _merge(best, kept, fresh)
        for i in range(kept):
            order = np.uint64(0xFFFFFFFF) - (best[2, i] & np.uint64(0xFFFFFFFF))
            parent, code = np.int64(order >> np.uint64(16)), np.int64(order & np.uint64(0xFFFF))
            scores[request, i], rows[request, i], codes[request, i] = _score(best[2, i]), parent, code
            out_base[request * scores.shape[1] + i] = np.int32(best[6, i])
            out_delta[request * scores.shape[1] + i] = _live_child(
                delta_nodes[first_row + parent], code, delta_first, delta_codes, delta_dead, delta_words, delta_before,
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
