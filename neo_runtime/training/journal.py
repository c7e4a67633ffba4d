"""Files of JSON lines that a run adds to. A stop may cut the last line off; what was whole before it counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def read_journal(file: Path) -> list[dict[str, Any]]:
    """Nothing where there is no file. What was cut off is removed, so that the next line does not go on from it."""
    if not file.exists():
        return []
    written = file.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    if len(whole) < len(written):
        file.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def add_to_journal(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write("".join(json.dumps(line) + "\n" for line in lines))
