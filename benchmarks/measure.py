"""Shared by the benchmarks: alternating repeats, medians, and results with machine and date."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


def alternate(
    variants: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every run; the variants take turns, so that a machine's drift hits all alike.

    `clock` time.process_time: what others do on the same cores does not count, but nor does waiting.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():
        run()
    for _ in range(repeats):
        for name, run in variants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def middle(seconds: list[float]) -> float:
    return statistics.median(seconds)


def spread(seconds: list[float]) -> str:
    """Median with minimum and maximum, in milliseconds."""
    return f"{middle(seconds) * 1e3:.3f} ({min(seconds) * 1e3:.3f}–{max(seconds) * 1e3:.3f})"


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    names = ("numpy", "numba", "torch", "jax", "transformers", "lmdb", "grpcio", "kafka-python")
    model = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.machine()
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


class Table(NamedTuple):
    """`note` is said above it."""

    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def lines(self) -> list[str]:
        lines = [self.note, ""] if self.note else []
        lines += ["| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in self.rows]


def report(name: str, header: list[str], rows: list[list[object]], note: str = "") -> None:
    """Print a table and keep it under `results/`."""
    report_tables(name, {"": Table(note, header, rows)})


def report_tables(name: str, tables: Mapping[str, Table]) -> None:
    """The same for several, each under its title."""
    RESULTS.mkdir(exist_ok=True)
    lines = [f"# {name}", "", f"`{json.dumps(machine())}`"]
    for title, table in tables.items():
        lines += ["", *([f"## {title}", ""] if title else []), *table.lines()]
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
