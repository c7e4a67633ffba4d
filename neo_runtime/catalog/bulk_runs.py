"""Sorted runs on disk: more lines of items than memory holds, brought into the order of their ids.

Two files side by side. Ids are merged first, and with them what each line's number is; then the records come in the
order that the ids were found in, without being compared again. Lines of one item stay in the order of their files.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

_BLOCK = 1_024  # lines read at once from one run
_PART = 65_536  # lines that come out of a merge together, about


class Entries(NamedTuple):
    """Lines by id. A number below 0 stands where `said` holds the line itself: those lines have no record."""

    ids: list[bytes]
    numbers: list[int]
    said: list[bytes | None]

    def take(self, order: Sequence[int]) -> Entries:
        ids, numbers, said = self
        return Entries([ids[i] for i in order], [numbers[i] for i in order], [said[i] for i in order])

    def part(self, start: int, end: int) -> Entries:
        return Entries(self.ids[start:end], self.numbers[start:end], self.said[start:end])

    def extend(self, more: Entries) -> None:
        self.ids.extend(more.ids)
        self.numbers.extend(more.numbers)
        self.said.extend(more.said)

    def sorted(self) -> Entries:
        """By id, those of one id as they were."""
        return self.take(np.argsort(np.array(self.ids, "S"), kind="stable").tolist())  # no id holds a zero byte


class Run(NamedTuple):
    """Sorted and encoded, in blocks: the first id of each block of ids, and records in the same order.

    Numbers count from the run's first line.
    """

    first_ids: list[bytes]
    id_blocks: list[bytes]
    record_blocks: list[bytes]


class _Written(NamedTuple):
    """Where a run's blocks lie, the first id of each, and the number of its first line."""

    first_ids: list[bytes]
    id_blocks: list[tuple[int, int]]
    record_blocks: list[tuple[int, int]]
    first_number: int


Halves = tuple[bytes, bytes]
"""An encoded ItemRecord without what stands in its middle: SID, path and error."""

_encode = msgspec.msgpack.encode
_decode_entries = msgspec.msgpack.Decoder(tuple[list[bytes], list[int], list[bytes | None]]).decode
_decode_records = msgspec.msgpack.Decoder(list[Halves]).decode


def run_of(entries: Entries, records: Sequence[Halves]) -> Run:
    """Some lines in the order of their files; `records` of those that have a number."""
    entries = entries.sorted()
    starts = range(0, len(entries.ids), _BLOCK)
    in_order = [records[number] for number in entries.numbers if number >= 0]
    return Run(
        [entries.ids[start] for start in starts],
        [_encode(entries.part(start, start + _BLOCK)) for start in starts],
        [_encode(in_order[start : start + _BLOCK]) for start in range(0, len(in_order), _BLOCK)],
    )


class Runs:
    """Of one item type. Numbers ascend from run to run, from 0 on."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ids = (folder / f"{name}.ids").open("w+b")
        self._records = (folder / f"{name}.records").open("w+b")
        self._runs: list[_Written] = []

    def add(self, first_number: int, run: Run) -> None:
        id_blocks = [_append(self._ids, block) for block in run.id_blocks]
        record_blocks = [_append(self._records, block) for block in run.record_blocks]
        self._runs.append(_Written(run.first_ids, id_blocks, record_blocks, first_number))

    def merged(self) -> Iterator[Entries]:
        """All lines by id, in parts; the lines of one item are in one part."""
        self._ids.flush()
        firsts = sorted(chain.from_iterable(run.first_ids for run in self._runs))
        bounds = sorted(set(firsts[_PART // _BLOCK :: _PART // _BLOCK]))
        waiting = [Entries([], [], []) for _ in self._runs]
        next_block = [0] * len(self._runs)
        for bound in [*bounds, None]:
            part = Entries([], [], [])
            for at, run in enumerate(self._runs):
                end = len(run.id_blocks) if bound is None else bisect_left(run.first_ids, bound)
                for block in run.id_blocks[next_block[at] : end]:
                    waiting[at].extend(_counted(Entries(*_decode_entries(_read(self._ids, block))), run.first_number))
                next_block[at] = max(next_block[at], end)
                waiting[at] = _hand_over(waiting[at], bound, part)
            if part.ids:
                yield part.sorted()

    def records(self, parts: Iterator[NDArray[np.int32]]) -> Iterator[list[Halves]]:
        """The records of numbers that come in the order of `merged`, all of them."""
        self._records.flush()
        sources = [self._records_of(run) for run in self._runs]
        firsts = np.array([run.first_number for run in self._runs])
        buffers: list[list[Halves]] = [[] for _ in self._runs]
        for numbers in parts:
            runs = firsts.searchsorted(numbers, "right") - 1
            order = np.argsort(runs, kind="stable")
            counts = np.bincount(runs, minlength=len(self._runs)).tolist()
            found: list[Halves] = []
            for at, count in enumerate(counts):
                buffer = buffers[at]
                while len(buffer) < count:
                    buffer += next(sources[at])
                found += buffer[:count]
                del buffer[:count]
            places = np.empty(len(order), np.intp)
            places[order] = np.arange(len(order))
            yield [found[place] for place in places.tolist()]

    def _records_of(self, run: _Written) -> Iterator[list[Halves]]:
        for block in run.record_blocks:
            yield _decode_records(_read(self._records, block))

    def close(self) -> None:
        self._ids.close()
        self._records.close()


def _append(file: BinaryIO, data: bytes) -> tuple[int, int]:
    """Where it lies."""
    start = file.tell()
    file.write(data)
    return start, len(data)


def _counted(entries: Entries, first_number: int) -> Entries:
    """With the numbers that the lines have among those of all runs."""
    return entries._replace(numbers=[number if number < 0 else number + first_number for number in entries.numbers])


def _read(file: BinaryIO, block: tuple[int, int]) -> bytes:
    file.seek(block[0])
    return file.read(block[1])


def _hand_over(waiting: Entries, bound: bytes | None, part: Entries) -> Entries:
    """What lies below the bound goes to `part`; the rest waits."""
    end = len(waiting.ids) if bound is None else bisect_left(waiting.ids, bound)
    if not end:
        return waiting
    part.extend(waiting.part(0, end))
    return waiting.part(end, len(waiting.ids))
