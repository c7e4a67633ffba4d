"""Item events without a broker: an append-only file of JSON lines that publishers write and the catalog worker follows.

An event's offset is the byte of its line's end, so that here as in Kafka the next thing to read is at offset + 1.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from neo_runtime.catalog.item import RawRecord
from neo_runtime.errors import StartupError
from neo_runtime.types import Position

NAME = "events.jsonl"
TOPIC = "events.jsonl"
_POLL_S = 0.002  # a stat of an unchanged file costs a microsecond


def append(path: Path, lines: Iterable[bytes]) -> int:
    """Publish whole lines, durably; returns the offset after them. Publishers wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            file.write(b"\n")  # a publisher died in the middle of its line: that line alone is refused
        file.writelines(line.rstrip(b"\n") + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


class EventFileSource:
    """Follows the file from `offset` on. Belongs to one thread."""

    def __init__(self, path: Path, offset: int, stop: threading.Event) -> None:
        self._path, self._offset, self._stop = path, offset, stop

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        """What is there, at most `max_records`; waits up to `timeout_s` for a first whole line."""
        deadline = time.monotonic() + timeout_s
        while True:
            records = self._read(max_records)
            if records or time.monotonic() >= deadline or self._stop.wait(_POLL_S):
                return records

    def _read(self, max_records: int) -> list[RawRecord]:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._offset:
            raise StartupError(
                f"{self._path} has {size} bytes, but the catalog has read {self._offset}: events were lost. "
                "Restore the file, or load the catalog again in a new folder"
            )
        if size == self._offset:
            return []
        now_us = time.time_ns() // 1_000
        records: list[RawRecord] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if len(records) == max_records or not line.endswith(b"\n"):  # the rest is still being written
                    break
                self._offset += len(line)
                if line.strip():
                    records.append(RawRecord(Position(TOPIC, 0, self._offset - 1), None, line[:-1], (), now_us))
        return records

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) to the byte after what was polled."""
        return {(TOPIC, 0): self._offset}

    def end_offsets(self) -> dict[tuple[str, int], int]:
        """The file's size now."""
        return {(TOPIC, 0): self._path.stat().st_size if self._path.exists() else 0}

    def close(self) -> None:
        """Nothing is held open between polls."""
