"""Shared by the benchmarks: alternating repeats, medians, and results with machine and date."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def alternate(variants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run; the variants take turns, so that a machine's drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():
        run()
    for _ in range(repeats):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def middle(seconds: list[float]) -> float:
    return statistics.median(seconds)


def spread(seconds: list[float]) -> str:
    """Median with minimum and maximum, in milliseconds."""
    return f"{middle(seconds) * 1e3:.3f} ({min(seconds) * 1e3:.3f}–{max(seconds) * 1e3:.3f})"


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    names = ("numpy", "torch", "transformers", "lmdb", "grpcio", "kafka-python")
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


def report(name: str, header: list[str], rows: list[list[object]], note: str = "") -> None:
    """Print a table and keep it under `results/`."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    lines = (
        [f"# {name}", "", f"`{json.dumps(about)}`", "", note, ""]
        if note
        else [f"# {name}", "", f"`{json.dumps(about)}`", ""]
    )
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
