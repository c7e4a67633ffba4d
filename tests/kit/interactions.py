"""Small data folders, written line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from neo_runtime.data.dataset import Sequences
from neo_runtime.data.ragged import Ragged


def write_folder(
    folder: Path,
    items: Mapping[str, int],
    interactions: Iterable[Mapping[str, object]],
    queries: Iterable[Mapping[str, object]] = (),
) -> Path:
    """`items`: how many of each type; item 3 of type film is film/3."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"type": name, "id": str(number), "title": f"{name} number {number}"}
        for name, count in items.items()
        for number in range(count)
    ]
    for stem, rows in (("items", lines), ("interactions", interactions), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if text:
            (folder / f"{stem}.jsonl").write_text(text)
    return folder


def sequences(
    rows: Sequence[Sequence[int]], days: Sequence[Sequence[int]] | None = None, item_type: str = "film"
) -> Sequences:
    """User i did row i."""
    flat = None if days is None else np.array([day for row in days for day in row], np.int64)
    return Sequences(item_type, np.arange(len(rows)), Ragged.of(rows), flat, None)


def two_tastes(users: int = 300, items: int = 40, *, seed: int = 0) -> Sequences:
    """Half of the users walk through the even items in a ring, half through the odd ones: easy to learn."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        start = int(random.integers(items // 2))
        rows.append([(2 * (start + step) + user % 2) % items for step in range(int(random.integers(4, 9)))])
    return sequences(rows)
