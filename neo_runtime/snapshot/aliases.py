"""Names that move: `live` is what is served, `previous` what was before it, others are an operator's own.

Every move is one new numbered file with all aliases in it. A number is taken once, so of two operators who looked at
the same state one is refused; a reader that knows the newest number knows everything.
"""

from __future__ import annotations

import getpass
import hashlib
import platform
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from neo_runtime.errors import ConflictError, SnapshotError
from neo_runtime.snapshot.manifest import check_name
from neo_runtime.snapshot.store import SnapshotStore

LIVE, PREVIOUS = "live", "previous"
KEPT_MOVES = 100


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """A snapshot, pinned by the digest of its manifest. Without a name: the live catalog, as events change it."""

    snapshot: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.snapshot or "the live catalog"


EVENTS = Target()


class Alias(msgspec.Struct, frozen=True, omit_defaults=True):
    """Below a share of 1, the workers that the share does not draw stay on `rest`."""

    target: Target = EVENTS
    share: float = 1.0
    rest: Target = EVENTS

    def of(self, instance: str) -> Target:
        """What one worker serves. The draw depends on worker and snapshot alone: a growing share only adds workers."""
        if self.share >= 1:
            return self.target
        draw = hashlib.blake2b(f"{instance}\0{self.target.snapshot}".encode(), digest_size=8).digest()
        return self.target if int.from_bytes(draw) < self.share * 2**64 else self.rest


class AliasState(msgspec.Struct, frozen=True):
    """All aliases after one move."""

    sequence: int = 0
    aliases: dict[str, Alias] = {}
    time: str = ""
    actor: str = ""
    moved: str = ""
    """What the last move was, in words."""

    @property
    def live(self) -> Alias:
        return self.aliases.get(LIVE, Alias())

    def names_of(self, snapshot: str) -> list[str]:
        """Aliases that need this snapshot."""
        return [
            name
            for name, alias in self.aliases.items()
            if snapshot in (alias.target.snapshot, alias.rest.snapshot if alias.share < 1 else "")
        ]


Change = Callable[[dict[str, Alias]], str]
"""Moves aliases in place and says what it did."""


class Aliases:
    """The aliases of one store."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store

    def read(self) -> AliasState:
        numbers = self._store.alias_numbers()
        return self._decode(numbers[-1]) if numbers else AliasState()

    def history(self, limit: int) -> list[AliasState]:
        """The newest moves, newest first."""
        return [self._decode(number) for number in self._store.alias_numbers()[: -limit - 1 : -1]]

    def _decode(self, number: int) -> AliasState:
        try:
            return msgspec.json.decode(self._store.alias(number), type=AliasState)
        except msgspec.MsgspecError as error:
            raise SnapshotError(
                f"move {number} of the aliases in {self._store.location} cannot be read ({error}); remove its file"
            ) from error

    def move(self, change: Change, *, expected: int | None = None) -> AliasState:
        """ConflictError where the aliases are not at `expected` any more, or another move came first."""
        before = self.read()
        if expected is not None and before.sequence != expected:
            raise ConflictError(
                f"the aliases moved meanwhile: {before.moved} by {before.actor}; look again, then decide again"
            )
        aliases = dict(before.aliases)
        moved = change(aliases)
        after = AliasState(
            before.sequence + 1, aliases, datetime.now(UTC).isoformat(timespec="milliseconds"),
            _actor(), moved,
        )  # fmt: skip
        if not self._store.add_alias(after.sequence, msgspec.json.encode(after)):
            raise ConflictError("somebody else moved the aliases at the same moment; look again, then decide again")
        for number in self._store.alias_numbers()[:-KEPT_MOVES]:
            self._store.remove_alias(number)
        return after


def _actor() -> str:
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except OSError:  # a container's user may have no name
        return platform.node()


def serve(target: Target, share: float = 1.0) -> Change:
    """Move `live`, and with it `previous`. Below a share of 1 the other workers stay where all were before."""

    def change(aliases: dict[str, Alias]) -> str:
        before = aliases.get(LIVE, Alias())
        stable = before.rest if before.share < 1 else before.target
        if stable == target and share < 1:
            raise SnapshotError(f"{target} is what all workers serve already; a share of it makes no canary")
        aliases[LIVE] = Alias(target) if share >= 1 else Alias(target, share, stable)
        left = before.target if stable == target else stable  # back from a canary: what was tried is the previous one
        if left != target:
            aliases[PREVIOUS] = Alias(left)
        return f"live to {target}" + (f" for a share of {share:g}" if share < 1 else "")

    return change


def name_alias(alias: str, target: Target) -> Change:
    """An operator's own alias."""

    def change(aliases: dict[str, Alias]) -> str:
        aliases[check_name(alias)] = Alias(target)
        return f"{alias} to {target}"

    return change


def forget(alias: str) -> Change:
    """Only an operator's own: `live` and `previous` are there by rule."""

    def change(aliases: dict[str, Alias]) -> str:
        if aliases.pop(check_name(alias), None) is None:
            raise SnapshotError(f"there is no alias {alias}; `neo snapshot aliases` lists them")
        return f"{alias} removed"

    return change
