"""Parsing of chunks in processes of their own, on the other cores.

They are given whole chunks, one at a time, and know no more than these: whatever is said of a line is said here. Each
ends with its input, so with the process that loads, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue

from neo_runtime.catalog.bulk_parts import Parsed
from neo_runtime.catalog.bulkload import without_collector
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk_chunks import Chunk
from neo_runtime.ingest.bulk_parse import Parser

WORTH_BYTES = 64 << 20  # of files; with less, all is read before such a process has started
_PATIENCE = 5  # seconds that a process has to end in, whose answer ended
_MOST = 4  # processes: more than what takes their chunks over keeps pace with


Process = subprocess.Popen[bytes]


def parsed(parser: Parser, chunks: Iterable[Chunk], size: int) -> Generator[tuple[Chunk, Parsed]]:
    """All chunks in their order; `size`: bytes of the files, about. To be closed. StartupError where a process ends
    too early.
    """
    cores = len(os.sched_getaffinity(0))
    if size < WORTH_BYTES or cores < 2:
        yield from ((chunk, parser.parse(chunk)) for chunk in chunks)
        return
    processes = [_started(parser) for _ in range(min(cores, _MOST))]
    threads = ThreadPoolExecutor(len(processes))
    try:
        yield from _in_order(threads, processes, chunks)
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            with suppress(BrokenPipeError), process:
                pass


def _started(parser: Parser) -> Process:
    pipe = subprocess.PIPE
    one_thread = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    process = subprocess.Popen([sys.executable, "-m", __name__], stdin=pipe, stdout=pipe, env=one_thread)  # noqa: S603
    _send(process, parser)
    return process


def _in_order(
    threads: ThreadPoolExecutor, processes: list[Process], chunks: Iterable[Chunk]
) -> Iterator[tuple[Chunk, Parsed]]:
    """A thread for each process waits for it, and one more chunk for whichever is ready first."""
    free, waiting = SimpleQueue[Process](), deque[tuple[Chunk, Future[Parsed]]]()
    for process in processes:
        free.put(process)
    for chunk in chunks:
        waiting.append((chunk, threads.submit(_exchanged, free, chunk)))
        if len(waiting) > len(processes) + 1:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _exchanged(free: SimpleQueue[Process], chunk: Chunk) -> Parsed:
    process = free.get()
    try:
        _send(process, chunk)
        assert process.stdout is not None
        found: Parsed = pickle.load(process.stdout)  # noqa: S301
    except (OSError, EOFError, pickle.UnpicklingError) as error:  # nothing came, or half of it
        raise StartupError(
            f"a process that parses lines ended with {_status(process)}, so nothing is loaded; "
            "where memory was short, load again with more of it"
        ) from error
    finally:
        free.put(process)
    return found


def _status(process: Process) -> int:
    """That it ended with; ended here where it does not end."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=_PATIENCE)
    process.kill()
    return process.wait()


def _send(process: Process, value: object) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # what it was sent before tells why
        pickle.dump(value, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that loads ends this one
    chunks, results = sys.stdin.buffer, os.fdopen(sys.stdout.fileno(), "wb")  # buffered, whatever Python was told
    with without_collector(), suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # nobody is there any more
        parser: Parser = pickle.load(chunks)  # noqa: S301
        while True:
            pickle.dump(parser.parse(pickle.load(chunks)), results, pickle.HIGHEST_PROTOCOL)  # noqa: S301
            results.flush()


if __name__ == "__main__":
    main()
