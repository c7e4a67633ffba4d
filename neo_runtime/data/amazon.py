"""The Amazon 2014 files of the published tables, as a data folder. Nothing of them belongs to this repository."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neo_runtime.catalog.item import MAX_TITLE_CHARS
from neo_runtime.data.line import SECONDS_OF_A_DAY, interaction_line
from neo_runtime.errors import DataError
from neo_runtime.types import ItemKey

ITEMS, SEQUENCES, DAYS = ".items.jsonl.gz", ".sequences.tsv.gz", ".days.tsv.gz"


class Row(NamedTuple):
    """One user's items of a type, oldest first. `gaps`: days since the item before; none where the file has none."""

    user: str
    items: list[str]
    gaps: list[int]


def convert_amazon(source: Path, out: Path) -> dict[str, tuple[int, int]]:
    """Write items and interactions of every type in `source`; returns (items, interactions) by type."""
    types = sorted(path.name.removesuffix(ITEMS) for path in source.glob(f"*{ITEMS}"))
    if not types:
        raise DataError(f"{source} has no *{ITEMS}; it holds the Amazon 2014 files as docs/data.md describes them")
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for item_type in types:
        items = _write(out / f"items-{item_type}.jsonl.gz", _encoded_items(source, item_type))
        written[item_type] = (
            items,
            _write(out / f"interactions-{item_type}.jsonl.gz", _interactions(source, item_type)),
        )
    return written


def item_lines(source: Path, item_type: str) -> Iterator[dict[str, object]]:
    """Items in the runtime's own file format: categories and brand become attributes."""
    with gzip.open(source / f"{item_type}{ITEMS}", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            attributes = {name: row[name] for name in ("categories", "brand") if row.get(name)}
            yield {
                "type": row["type"], "id": row["id"], "title": row["title"][:MAX_TITLE_CHARS],
                "description": row.get("description", ""), "attributes": attributes,
            }  # fmt: skip


def sequence_rows(source: Path, item_type: str) -> Iterator[Row]:
    for user, items, *gaps in _table(source / f"{item_type}{SEQUENCES}"):
        yield Row(user, items.split(), [int(gap) for gap in gaps[0].split()] if gaps else [])


def _encoded_items(source: Path, item_type: str) -> Iterator[bytes]:
    return (json.dumps(line, ensure_ascii=False).encode() for line in item_lines(source, item_type))


def _interactions(source: Path, item_type: str) -> Iterator[bytes]:
    """With a time where days since 1970 are known, with a day of the row's own where only gaps are."""
    dated = source / f"{item_type}{DAYS}"
    if dated.exists():
        for user, items, days in _table(dated):
            for item, date in zip(items.split(), days.split(), strict=True):
                yield interaction_line(user, ItemKey(item_type, item), time_s=int(date) * SECONDS_OF_A_DAY)
        return
    for row in sequence_rows(source, item_type):
        day = 0
        for place, item in enumerate(row.items):
            day += row.gaps[place] if row.gaps else 0
            yield interaction_line(row.user, ItemKey(item_type, item), day=day if row.gaps else None)


def _table(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n").split("\t")


def _write(path: Path, lines: Iterator[bytes]) -> int:
    count = 0
    with gzip.open(path, "wb", compresslevel=6) as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count
