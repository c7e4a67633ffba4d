"""Kill and pause processes at random, start them again, and remember what was done when."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

SESSION_S = 6.0  # the least that a broker takes by default
STRIKE_S = (1.0, 4.0)
TICK_S = 0.1
TAIL = 4_000


class Running(Protocol):
    """A process that can be started as often as one likes."""

    process: subprocess.Popen[bytes] | None

    def start(self, *, wait: bool = True) -> None: ...
    def log(self) -> str: ...


class Journal:
    """What was done, with the clock that logs have too."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        since = time.monotonic() - self._began
        self.lines.append(f"{datetime.now(UTC):%H:%M:%S.%f} (+{since:.1f} s) {text}")


@dataclass
class Player:
    """One of the processes. `excuses`: with these words in its last line it may end by itself, and is started again."""

    name: str
    running: Running
    at_work: tuple[str, ...]
    """Log events that tell that it has started."""
    excuses: tuple[str, ...] = ()
    weight: float = 1.0
    mark: int = 0
    """Length of the log when it was started last."""
    due_at: float | None = None
    """Down or paused until then."""
    is_paused: bool = False
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.running.process is not None
        return self.running.process

    def start(self) -> None:
        self.due_at, self.is_paused, self.mark = None, False, len(self.running.log())
        self.running.start(wait=False)

    def is_at_work(self) -> bool:
        said = self.running.log()[self.mark :]
        return self.due_at is None and any(f'"{event}"' in said for event in self.at_work)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def last_line(self) -> str:
        return (self.running.log().splitlines() or [""])[-1]


class Chaos(threading.Thread):
    """Strikes until `calm`, and supervises until `end`: what is down or paused comes back in its time."""

    def __init__(self, players: list[Player], seed: int, journal: Journal) -> None:
        super().__init__(name="chaos", daemon=True)
        self.players, self._rng, self._journal = players, random.Random(seed), journal
        self.problems: list[str] = []
        self._calm, self._ended = threading.Event(), threading.Event()
        self._strike_at = time.monotonic() + self._rng.uniform(*STRIKE_S)

    def calm(self) -> None:
        """No strikes from now on; everything comes back at once."""
        self._calm.set()

    def end(self) -> None:
        self._ended.set()
        self.join(60)
        assert not self.is_alive()

    def run(self) -> None:
        try:
            while not self._ended.wait(TICK_S):
                for player in self.players:
                    self._tend(player)
                if not self._calm.is_set() and time.monotonic() >= self._strike_at:
                    self._strike(self._rng.choices(self.players, [player.weight for player in self.players])[0])
                    self._strike_at = time.monotonic() + self._rng.uniform(*STRIKE_S)
        except Exception as error:
            self.problems.append(f"chaos itself failed: {error!r}")
            raise

    def _tend(self, player: Player) -> None:
        now = time.monotonic()
        if player.due_at is not None:
            if now >= player.due_at or self._calm.is_set():
                self._bring_back(player)
        elif player.process.poll() is not None:
            self._journal.note(f"{player.name} ended with {player.process.returncode}: {player.last_line()[:200]}")
            if not any(words in player.last_line() for words in player.excuses):
                self.problems.append(f"{player.name} ended by itself: {player.last_line()}")
            player.due_at = now + 0.5

    def _bring_back(self, player: Player) -> None:
        if player.is_paused and self._rng.random() < 0.8:
            self._journal.note(f"{player.name} goes on")
            player.due_at, player.is_paused = None, False
            player.process.send_signal(signal.SIGCONT)
            return
        if player.is_paused:
            self._journal.note(f"{player.name} killed in its pause")
            player.kill()
        player.start()
        self._journal.note(f"{player.name} started, process {player.process.pid}")

    def _strike(self, player: Player) -> None:
        is_early = not player.is_at_work() and self._rng.random() < 0.7
        if player.due_at is not None or is_early or player.process.poll() is not None:
            return
        if self._rng.random() < 0.65:
            player.kill()
            lasts = self._rng.choice([0.0, self._rng.uniform(0, 2), self._rng.uniform(SESSION_S, 2 * SESSION_S)])
            self._note(player, "killed", lasts)
        else:
            player.process.send_signal(signal.SIGSTOP)
            player.is_paused = True
            lasts = self._rng.choice([self._rng.uniform(0.1, 2), self._rng.uniform(SESSION_S, 2 * SESSION_S)])
            self._note(player, "paused", lasts)
        player.due_at = time.monotonic() + lasts

    def _note(self, player: Player, what: str, lasts_s: float) -> None:
        player.struck[what] = player.struck.get(what, 0) + 1
        self._journal.note(f"{player.name} {what} for {lasts_s:.1f} s")


def explanation(seed: int, journal: Journal, players: list[Player], more: Callable[[], str] = lambda: "") -> str:
    """What a failure needs: how to have it again, what was done when, and what the processes said."""
    tails = [f"--- the log of {player.name} ends with\n{player.running.log()[-TAIL:]}" for player in players]
    return "\n".join([f"seed {seed}: NEO_CHAOS_SEED={seed} draws the same again", *journal.lines, more(), *tails])
