"""Real processes of this project, started and stopped as an operator does it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from neo_runtime.client import CallError, NeoClient

ROOT = Path(__file__).parents[2]


def neo(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    stdin: str | None = None,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "neo_runtime.cli.main", *arguments], cwd=cwd, env={**os.environ, **(env or {})},
        capture_output=True, text=True, timeout=timeout, check=False, input=stdin,
    )  # fmt: skip


def start(
    *arguments: str, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT,
    module: str = "neo_runtime.cli.main",
) -> subprocess.Popen[bytes]:  # fmt: skip
    """A long-running command; what it prints goes to `log`. `module`: what runs in place of the command line."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=cwd, env={**os.environ, **(env or {})},
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def stop(process: subprocess.Popen[bytes], timeout: float = 30) -> int:
    """SIGTERM, as an orchestrator does; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def serving(catalog: Path, model: Path, folder: Path, **settings: str) -> Iterator[str]:
    """A generation worker, exact unless the settings say otherwise; yields its address once it answers."""
    address = f"127.0.0.1:{free_port()}"
    env = {f"NEO_{name.upper()}": value for name, value in {"dtype": "float32", **settings}.items()}
    log = folder / "serve.log"
    process = start("serve", "--catalog", str(catalog), "--model", str(model), "--listen", address, log=log, env=env)
    try:
        deadline = time.monotonic() + 90
        with NeoClient(address) as client:
            while True:
                try:
                    client.wait_ready(1)
                    break
                except CallError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
        yield address
    finally:
        code = stop(process)
    assert code == 0, log.read_text()
