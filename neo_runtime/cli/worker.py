"""A worker of the demo: a process of its own that ends with the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from neo_runtime.config import Settings
from neo_runtime.errors import StartupError

START_S = 60.0
STOP_S = 25.0


class Worker:
    """`neo COMMAND` with the demo's settings; it logs JSON lines to `log`."""

    def __init__(self, command: str, settings: Settings, log: Path, **environment: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._command, self._log = command, log
        self._environment = {
            "NEO_CATALOG": str(settings.catalog),
            "NEO_MODEL": str(settings.model),
            "NEO_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            **environment,
        }

    def __enter__(self) -> Self:
        arguments = [sys.executable, "-m", "neo_runtime.cli.main", *self._command.split()]
        with self._log.open("wb") as file:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops its workers in order.
            self._process = subprocess.Popen(  # noqa: S603
                arguments, env={**os.environ, **self._environment}, stdout=file, stderr=file, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, event: str) -> dict[str, object]:
        """The first log entry of that name; StartupError where the process ends or takes too long."""
        deadline = time.monotonic() + START_S
        while True:
            for line in self._log.read_text().splitlines():
                entry = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
                if entry.get("event") == event:
                    return dict(entry)
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = self._log.read_text().splitlines()[-3:]
                raise StartupError(f"`neo {self._command}` did not start: {' '.join(last)}")
            time.sleep(0.02)
