"""The open read transactions of a process, counted, so that what would end them happens while there is none."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Reads pass in any number; `alone` waits until they have left, and keeps new ones waiting meanwhile.

    A thread that is inside may come in again: making it wait for itself would stop everything.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._is_closed = False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """For the length of a read transaction."""
        thread = threading.get_ident()
        with self._changed:
            if not self._inside[thread]:
                self._changed.wait_for(lambda: not self._is_closed)
            self._inside[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[thread] -= 1
                if not self._inside[thread]:
                    del self._inside[thread]
                    self._changed.notify_all()

    @contextmanager
    def alone(self, patience_s: float | None = None) -> Iterator[bool]:
        """Yields whether nobody is inside: not where this thread is, or others are for longer than `patience_s`."""
        thread = threading.get_ident()
        with self._changed:
            is_inside = self._inside[thread] > 0
            if not is_inside:
                self._changed.wait_for(lambda: not self._is_closed)
                self._is_closed = True
                is_empty = self._changed.wait_for(lambda: not self._inside, patience_s)
        if is_inside:
            yield False
            return
        try:
            yield is_empty
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()
