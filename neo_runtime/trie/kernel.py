"""The compiled inner loops of the trie, through numba: pip alone brings them, also where there is no compiler.

Each has a numpy twin elsewhere in this package that it must equal bit for bit, but for the normaliser, which agrees
within 1e-6 (`tests/property/`). All of them release the GIL and allocate nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neo_runtime.trie.compiled import compiled
from neo_runtime.trie.prefetch import prefetch
from neo_runtime.trie.rank_kernel import has_set_bit, lowest, rank_before
from neo_runtime.trie.search import lower_bound, lower_bound_near

_FEW = 16  # codes for each child from which it is better to look at the children alone
_LINE = 32  # codes in a cache line
_SPARSE = 4  # children for each allowed row from which it is better to look for the rows
_RARE = 16  # the same, once a score is known that a child must reach
_NO_NODE = np.uint64(0xFFFFFFFF)
ROOM = 32  # fresh candidates that are merged at once

_LOG2_E, _BIAS, _MANTISSA = np.float32(1.4426950408889634), np.float32(127 * (1 << 23)), np.float32(1 << 23)
_LEAST = np.float32(-126)  # exponents below are zero in float32
# 2 ** x between -1/2 and 1/2 within 4e-6 of itself.
_P0, _P1, _P2 = np.float32(0.99999943), np.float32(0.69314666), np.float32(0.24023849)
_P3, _P4 = np.float32(0.05591786), np.float32(0.0096740946)


@compiled
def normalize(logits: Any, norms: Any) -> None:
    """The logarithm of the sum of exponentials of every row of float32 [rows, codes], into `norms` float32 [rows]."""
    for row in range(len(norms)):
        norms[row] = normalizer(logits[row])[1]


@compiled
def _turned(bits: Any) -> Any:
    """The bits of a float32 as an int32 that rises with it, and back."""
    return np.int32(bits ^ np.int32((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@compiled
def normalizer(line: Any) -> Any:
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
def _is_live(node: int, dead: Any, words: Any, before: Any, bounds: Any) -> bool:
    """Whether a node has an allowed row: by rank where there are bits, else by the list of dead nodes."""
    if len(words):
        return has_set_bit(node, words, before, bounds)  # type: ignore[no-any-return]
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
def _sieve(best: Any, fresh: int, words: Any, before: Any, bounds: Any) -> int:
    """Drop the fresh candidates whose base node has no allowed row; returns how many are left.

    What all of them need is asked for before any is looked at, so that they share the wait for memory.
    """
    if len(bounds):
        for i in range(fresh):
            prefetch(bounds, _node(best[4, i]))
        for i in range(fresh):
            low, high = bounds[_node(best[4, i])] >> 6, bounds[_node(best[4, i]) + 1] >> 6
            prefetch(words, low)
            prefetch(before, low)
            prefetch(words, high)
            prefetch(before, high)
    else:
        for i in range(fresh):
            prefetch(words, _node(best[4, i]) >> 6)
    left = 0
    for i in range(fresh):
        best[0, left], best[4, left] = best[0, i], best[4, i]
        left += (best[4, i] == _NO_NODE) | has_set_bit(_node(best[4, i]), words, before, bounds)
    return left


@compiled
def _node(node: Any) -> Any:
    """One that is there, also where there is none."""
    return np.int64(node) if node != _NO_NODE else 0


@compiled
def _merge(best: Any, kept: int, fresh: int, words: Any, before: Any, bounds: Any) -> Any:
    """Sort the fresh candidates that are allowed and merge them into the kept ones; returns how many are kept. See
    `step`.
    """
    if len(words):
        fresh = _sieve(best, fresh, words, before, bounds)
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
    dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Offer those of the children [child, end) of one prefix that are not `dead`; returns how many candidates are kept,
    and how many fresh.
    """
    least = _least(best, kept)
    while child < end:
        for place in range(child, min(end, child + ROOM - fresh)):
            score = offset + line[codes[place]]
            best[0, fresh], best[4, fresh] = _entry(score, row, codes[place]), place
            wanted = score >= least
            if len(dead) and wanted:
                wanted = _is_live(place, dead, words[:0], before, bounds)
            fresh += wanted
            child += 1
        if fresh == ROOM:
            kept, fresh = _merge(best, kept, fresh, words, before, bounds), 0
            least = _least(best, kept)
    return kept, fresh


@compiled
def _mark(line: Any, offset: Any, least: Any, marks: Any) -> None:
    """Set the bytes of the codes whose score reaches `least`, clear the others."""
    for code in range(len(line)):
        marks[code] = offset + line[code] >= least


@compiled
def _offer_marked(
    best: Any, marks: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int,
    codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """The same where there are many children, of which few are wanted."""
    least = _least(best, kept)
    _mark(line, offset, least, marks)
    eights = marks.view(np.uint64)
    for eight in range(len(eights)):
        wanted = eights[eight]
        while wanted and child < end:
            code = 8 * eight + (lowest(wanted) >> 3)
            wanted &= wanted - np.uint64(1)
            # With no code left out between them, it would be as many children on.
            guess = min(end - 1, child + max(code - codes[child], 0))
            child = guess if codes[guess] == code else lower_bound_near(codes, child, end, guess, code)
            if child < end and codes[child] == code and _is_live(child, dead, words[:0], before, bounds):
                score = offset + line[code]
                best[0, fresh], best[4, fresh] = _entry(score, row, code), child
                fresh += score >= least
                if fresh == ROOM:
                    kept, fresh = _merge(best, kept, fresh, words, before, bounds), 0
                    least = _least(best, kept)
    return kept, fresh


@compiled
def _offer_allowed(
    best: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int, codes: Any,
    words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """The same where few rows are allowed: from one set bit to the next, over all children without any."""
    least = _least(best, kept)
    place, last = (bounds[child], bounds[end]) if len(bounds) else (child, end)
    while place < last:
        word = words[place >> 6] >> np.uint64(place & 63)
        if not word:
            place = ((place >> 6) + 1) << 6
            continue
        place += lowest(word)
        if place >= last:
            break
        if len(bounds):
            child = lower_bound_near(bounds, child, end, child, place + 1) - 1
            place = bounds[child + 1]
        else:
            child = place
            place += 1
        score = offset + line[codes[child]]
        best[0, fresh], best[4, fresh] = _entry(score, row, codes[child]), child
        fresh += score >= least
        if fresh == ROOM:
            kept, fresh = _merge(best, kept, fresh, words, before, bounds), 0
            least = _least(best, kept)
    return kept, fresh


@compiled
def _offer_base(
    best: Any, marks: Any, kept: int, fresh: int, line: Any, row: int, offset: Any, child: int, end: int,
    codes: Any, dead: Any, words: Any, before: Any, bounds: Any,
) -> Any:  # fmt: skip
    """Offer the live ones of the base's children [child, end) of one prefix, in the order that costs least."""
    children, is_full = end - child, kept == best.shape[1] - ROOM - 1
    if len(words) and children > ROOM:
        low, high = (bounds[child], bounds[end]) if len(bounds) else (child, end)
        allowed = rank_before(words, before, high) - rank_before(words, before, low)
        if allowed * (_RARE if is_full else _SPARSE) < children:
            return _offer_allowed(best, kept, fresh, line, row, offset, child, end, codes, words, before, bounds)
    if len(dead):
        place = lower_bound(dead, 0, len(dead), child)
        if place == len(dead) or dead[place] >= end:
            dead = dead[:0]
    if is_full and children * _FEW >= len(line):
        return _offer_marked(
            best, marks, kept, fresh, line, row, offset, child, end, codes, dead, words, before, bounds
        )
    return _offer(best, kept, fresh, line, row, offset, child, end, codes, dead, words, before, bounds)


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
                best[0, fresh], best[4, fresh] = _entry(score, row, codes[child]), _NO_NODE
                fresh += 1
                if fresh == ROOM:
                    kept, fresh = _merge(best, kept, fresh, base_words, base_before, base_bounds), 0
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
        kept, fresh = _offer_base(
            best, marks, kept, fresh, line, row, offset, base_first[base_node], base_first[base_node + 1],
            base_codes, base_dead, base_words, base_before, base_bounds,
        )  # fmt: skip
    if delta_node >= 0:
        kept, fresh = _offer_delta(
            best, kept, fresh, line, row, offset, delta_node, base_node,
            base_first, base_codes, base_dead, base_words, base_before, base_bounds,
            delta_first, delta_codes, delta_dead, delta_words, delta_before, delta_bounds,
        )  # fmt: skip
    return kept, fresh


@compiled
def _prefetch_ends(nodes: Any, first: Any, words: Any, before: Any, bounds: Any) -> None:
    """Ask for the bits and ranks of the first and the last row of every node."""
    for i in range(len(nodes)):
        node = max(nodes[i], 0)
        for child in (first[node], first[node + 1]):
            place = (bounds[child] if len(bounds) else child) >> 6
            prefetch(words, place)
            prefetch(before, place)


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
            if len(base_bounds):
                prefetch(base_bounds, base_first[node])
                prefetch(base_bounds, base_first[node + 1])
        if len(base_words):
            _prefetch_ends(base_nodes[first_row:end_row], base_first, base_words, base_before, base_bounds)
        for row in range(first_row, end_row):
            line = logits[row]
            top, norm = normalizer(line) if normalizes else (np.float32(np.inf), norms[row])
            offset = row_scores[row] - norm
            if offset + top >= _least(best, kept):
                kept, fresh = _offer_row(
                    best, marks, kept, fresh, line, row - first_row, offset, base_nodes[row], delta_nodes[row],
                    base_first, base_codes, base_dead, base_words, base_before, base_bounds,
                    delta_first, delta_codes, delta_dead, delta_words, delta_before, delta_bounds,
                )  # fmt: skip
        counts[request] = kept = _merge(best, kept, fresh, base_words, base_before, base_bounds)
        for i in range(kept):
            order = np.uint64(0xFFFFFFFF) - (best[2, i] & np.uint64(0xFFFFFFFF))
            parent, code = np.int64(order >> np.uint64(16)), np.int64(order & np.uint64(0xFFFF))
            scores[request, i], rows[request, i], codes[request, i] = _score(best[2, i]), parent, code
            out_base[request * scores.shape[1] + i] = np.int32(best[6, i])
            out_delta[request * scores.shape[1] + i] = _live_child(
                delta_nodes[first_row + parent], code, delta_first, delta_codes, delta_dead, delta_words, delta_before,
                delta_bounds,
            )  # fmt: skip
