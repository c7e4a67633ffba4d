"""Memory that a pass freed is used by the next one, where the C library is glibc."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from neo_runtime import heap
from tests.kit.processes import ROOT

# Passes that make and free 4 and 64 MiB, on a thread as the engine's; in a process of its own, since what is set stays.
PASSES = """
import resource, threading, torch
from neo_runtime import heap
{call}
def passes():
    for _ in range(20):
        torch.ones(2**20), torch.ones(2**24)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
pages = []
thread = threading.Thread(target=passes)
thread.start()
thread.join()
print(pages[-1] - pages[9])
"""


def page_faults(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PASSES.format(call=call)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a C library that keeps memory in its own way")
def test_passes_take_no_new_pages() -> None:
    assert page_faults("heap.keep()") < 100 < page_faults("")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(heap.ctypes, "CDLL", None)
    heap.keep()
