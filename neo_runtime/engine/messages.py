"""Between a front end and an engine in a process of its own, over a pipe: pickled, one message a frame.

Both ends are of one installation and the pipe is nobody else's. Catalogs are told by numbers that the front end gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neo_runtime.config import Settings
from neo_runtime.engine.api import EngineEvent, EngineLimits, Work
from neo_runtime.engine.pace import Pace
from neo_runtime.errors import NeoError, StartupError
from neo_runtime.snapshot.aliases import Target


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """Open a catalog's folder beside what is served, as `target`; answered with `Opened`."""

    number: int
    folder: Path
    target: Target
    resource: str


@dataclass(frozen=True, slots=True)
class ServeCatalog:
    """What begins from now on sees this one."""

    number: int


@dataclass(frozen=True, slots=True)
class CloseCatalog:
    """Nothing that runs needs it any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message. `is_again`: an engine with these settings was ready before, its int8 passed the gate."""

    settings: Settings
    catalogs: tuple[OpenCatalog, ...]
    serving: int
    is_again: bool


@dataclass(frozen=True, slots=True)
class Submit:
    """A request, by the front end's number."""

    number: int
    work: Work


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget a request; it may have ended already."""

    number: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Let a request rest, or go on with it."""

    number: int
    is_paused: bool


ToEngine = Submit | Cancel | Pause | OpenCatalog | ServeCatalog | CloseCatalog


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer to `Begin`."""

    limits: EngineLimits
    pace: Pace


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to `Begin` where it cannot start, and another one could not either."""

    error: StartupError


@dataclass(frozen=True, slots=True)
class Opened:
    """A catalog is open, or why not."""

    number: int
    error: NeoError | None = None


class Observation(NamedTuple):
    """Of one of `observability.metrics`, by the name of its variable: only the front end is scraped."""

    metric: str
    labels: tuple[str, ...]
    amount: float


class Load(NamedTuple):
    """Requests, bytes of the prefix cache, and how fast passes are."""

    running: int = 0
    queued: int = 0
    cached_bytes: int = 0
    pace: Pace = Pace()


@dataclass(frozen=True, slots=True)
class Events:
    """What one pass brought, by request and in order, and how the engine is."""

    events: tuple[tuple[int, EngineEvent | NeoError], ...]
    load: Load
    observations: tuple[Observation, ...] = ()


FromEngine = Ready | Refused | Opened | Events
