"""What a process pays for at start."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numba", "faiss", "matplotlib")


@pytest.mark.parametrize(
    ("module", "allowed"),
    [("neo_runtime.client", ()), ("neo_runtime.cli.main", ()), ("neo_runtime.ingest.follow", ("faiss",))],
)
def test_heavy_packages_are_loaded_by_those_who_need_them(module: str, allowed: tuple[str, ...]) -> None:
    code = f"import {module}, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= set(allowed)
