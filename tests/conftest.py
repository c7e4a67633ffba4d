"""One thread for every numeric library here and in child processes: tiny models lose more to waiting than they gain."""

from __future__ import annotations

import os

from hypothesis import settings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # read as torch, numpy and faiss are imported

pytest_plugins = ["tests.kit.brokers", "tests.kit.workers"]

# A deadline would assert a time, and the first call of a compiled function takes seconds.
settings.register_profile("neo", deadline=None)
settings.load_profile("neo")
