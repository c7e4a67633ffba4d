"""One thread for every numeric library here and in child processes: tiny models lose more to waiting than they gain."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # read as torch, numpy and faiss are imported

pytest_plugins = ["tests.kit.brokers", "tests.kit.workers"]
