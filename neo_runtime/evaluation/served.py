"""A trained model over the catalog of a data folder, asked through the engine that serves it, many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from neo_runtime.engine.api import EngineEvent, EngineLimits, Finished, RankedList, Work
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.errors import NeoError
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.training.sids import catalog_of

_TOGETHER = 64
_MOST_WAITING = 256

Answer = list[EngineEvent] | NeoError
Progress = Callable[[int, int], None]


class ServedModel:
    """In float32, with the scores that serving has by default."""

    def __init__(
        self,
        folder: Path,
        data: Path,
        new_lines: Collection[int] = frozenset(),
        *,
        live: Path | None = None,
        max_beam_width: int = 64,
    ) -> None:
        """`folder`: what `neo train` made, over the `live` catalog where it was. `data`: the items; those without a
        vector there are embedded, and those on `new_lines`, which training did without, published after the others.
        """
        self.folder = folder
        self._open = ExitStack()
        torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
        self.model = NeoModel.load(folder, dtype=torch.float32)
        self.catalog = self._open.enter_context(catalog_of(data, folder, new_lines, live=live))
        limits = EngineLimits(self.model.context_tokens, max_beam_width, 256, 16)
        decoder = Decoder(self.model, self.catalog.reader, limits, max_running=_TOGETHER)
        self._engine = LocalEngine(decoder, max_queued=_MOST_WAITING, has_thread=False)

    def answers(self, works: Sequence[Work], progress: Progress = lambda *_: None) -> list[Answer]:
        """All events of each request, or the error that ended it."""
        found: list[Answer] = [[] for _ in works]
        waiting = iter(range(len(works)))
        open_ones, done = 0, 0

        def taken(place: int, event: EngineEvent | NeoError) -> None:
            nonlocal open_ones, done
            if isinstance(event, NeoError):
                found[place] = event
            else:
                found[place].append(event)  # type: ignore[union-attr]
            if isinstance(event, NeoError | Finished | RankedList):
                open_ones, done = open_ones - 1, done + 1
                progress(done, len(works))

        while done < len(works):
            while open_ones < _MOST_WAITING and (place := next(waiting, None)) is not None:
                open_ones += 1
                self._engine.submit(works[place], lambda event, place=place: taken(place, event))  # type: ignore[misc]
            self._engine.turn()
        return found

    def close(self) -> None:
        self._engine.stop()
        self._open.close()
