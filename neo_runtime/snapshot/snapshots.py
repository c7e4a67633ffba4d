"""The snapshots of one root: list them, find them by name or alias, decide which one `rollback` means, prune."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from neo_runtime.config import Settings
from neo_runtime.errors import NotFoundError, SnapshotError
from neo_runtime.snapshot.aliases import EVENTS, LIVE, PREVIOUS, Aliases, AliasState, Change, Target, name_alias, serve
from neo_runtime.snapshot.manifest import Manifest, decode_manifest, digest_of, is_name
from neo_runtime.snapshot.store import Progress, SnapshotStore, open_store, sweep
from neo_runtime.snapshot.verify import verify


class Snapshot(NamedTuple):
    """A whole snapshot, as its manifest describes it."""

    manifest: Manifest
    digest: str

    @property
    def target(self) -> Target:
        return Target(self.manifest.name, self.digest)


class Move(NamedTuple):
    """What an alias would go to, and how."""

    target: Target
    change: Change


def root_of(settings: Settings) -> str:
    return settings.snapshots or str(settings.catalog / "snapshots")


class Snapshots:
    """What operators and workers ask for. Reads the store each time: others write it too."""

    def __init__(self, store: SnapshotStore) -> None:
        self.store, self.aliases = store, Aliases(store)

    @classmethod
    def of(cls, settings: Settings) -> Snapshots:
        return cls(open_store(root_of(settings)))

    def all(self) -> tuple[list[Snapshot], dict[str, str]]:
        """Newest first; and those whose manifest cannot be read, with the reason."""
        found, broken = [], {}
        for name in self.store.names():
            try:
                found.append(self.named(name))
            except SnapshotError as error:
                broken[name] = str(error)
        return sorted(found, key=lambda snapshot: (snapshot.manifest.created_at, snapshot[0].name))[::-1], broken

    def named(self, name: str) -> Snapshot:
        """NotFoundError where there is none, SnapshotError where its manifest cannot be used."""
        content = self.store.manifest(name) if is_name(name) else None
        if content is None:
            raise NotFoundError("snapshot", name, field="name")
        return Snapshot(decode_manifest(content, name), digest_of(content))

    def resolve(self, name: str, state: AliasState) -> Target:
        """A snapshot by its name, whole or the last part, or by an alias. What follows events is `EVENTS`."""
        if name in state.aliases:
            return state.aliases[name].target
        return EVENTS if name == LIVE else self.named(name.rpartition("/snapshots/")[-1]).target

    def pinned(self, target: Target) -> Snapshot:
        """What an alias pins; SnapshotError where its manifest has changed since."""
        snapshot = self.named(target.snapshot)
        if snapshot.digest != target.digest:
            raise SnapshotError(f"snapshot {target.snapshot} is not the one that was promoted: its manifest changed")
        return snapshot

    def before(self, state: AliasState) -> Target:
        """What a rollback without a name goes to: what was served before a promotion, else the newest snapshot."""
        if state.live.share < 1:
            return state.live.rest
        if state.live.target != EVENTS and PREVIOUS in state.aliases:
            return state.aliases[PREVIOUS].target
        snapshots, _ = self.all()
        others = [snapshot.target for snapshot in snapshots if snapshot.target != state.live.target]
        if not others:
            raise SnapshotError("there is no snapshot to go back to; `neo snapshot create` takes one")
        return others[0]

    def promotion(self, name: str, state: AliasState, alias: str = LIVE, share: float = 1.0) -> Move:
        """`live` or `-` as a name: the live catalog again, as events change it."""
        target = EVENTS if name in (LIVE, "-") else self.resolve(name, state)
        if alias == LIVE:
            if not 0 < share <= 1:
                raise SnapshotError(f"a share of {share:g} is none: give one above 0, up to 1")
            return Move(target, serve(target, share))
        if target == EVENTS or share != 1:
            raise SnapshotError(f"{alias} is not live: it names a snapshot, for all workers")
        return Move(target, name_alias(alias, target))

    def rollback(self, name: str, state: AliasState) -> Move:
        """To `name`, or without one to what `before` says."""
        target = self.resolve(name, state) if name else self.before(state)
        return Move(target, serve(target))

    def check(self, target: Target, progress: Progress) -> None:
        """SnapshotError where a file of it is damaged. One that lies elsewhere is checked as it is fetched."""
        if target == EVENTS:
            return
        snapshot = self.pinned(target)
        folder = self.store.local(target.snapshot)
        problems = verify(folder, snapshot.manifest, progress, deep=False) if folder else []
        if problems:
            raise SnapshotError(f"snapshot {target.snapshot} is damaged: {'; '.join(problems[:3])}")

    def prunable(
        self, *, keep: int, younger_than: timedelta | None, now: datetime | None = None
    ) -> list[tuple[Snapshot, str]]:
        """Every snapshot, newest first, with why it stays; empty: it may go."""
        state, (snapshots, _) = self.aliases.read(), self.all()
        since = None if younger_than is None else (now or datetime.now(UTC)) - younger_than
        rows = []
        for place, snapshot in enumerate(snapshots):
            names = state.names_of(snapshot.manifest.name)
            if names:
                why = f"alias {', '.join(names)}"
            elif place < keep:
                why = f"one of the {keep} newest"
            elif since is not None and snapshot.manifest.created_at > since:
                why = "young"
            else:
                why = ""
            rows.append((snapshot, why))
        return rows

    def prune(self, snapshots: list[Snapshot], progress: Progress) -> list[str]:
        """Remove those that no alias came to need meanwhile; their names."""
        removed = []
        for number, snapshot in enumerate(snapshots, start=1):
            name = snapshot.manifest.name
            if not self.aliases.read().names_of(name):
                self.store.remove(name)
                removed.append(name)
            progress(number, len(snapshots))
        if (folder := self.store.local("")) is not None:
            sweep(Path(folder))
        return removed
