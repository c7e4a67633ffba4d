"""One process or many, as torchrun or accelerate start them: what only the first does, and where all wait for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import torch

_LONGEST_WAIT = timedelta(days=2)  # while the first embeds a catalog or asks a teacher; the group's own is 10 minutes


class Processes:
    """Makes the process group where there are several."""

    def __init__(self) -> None:
        from accelerate import PartialState

        self.use_cpu = not torch.cuda.is_available()
        self._state = PartialState(cpu=self.use_cpu, timeout=_LONGEST_WAIT)
        self.count = int(self._state.num_processes)
        self.is_first = bool(self._state.is_main_process)

    def once(self, work: Callable[[], None]) -> None:
        """In the first process alone; the others go on when it is done."""
        if self.is_first:
            work()
        self._state.wait_for_everyone()
