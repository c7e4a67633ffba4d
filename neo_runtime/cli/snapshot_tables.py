"""How `neo snapshot` prints: tables for people, one JSON document for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from neo_runtime.cli import show

if TYPE_CHECKING:
    from neo_runtime.snapshot.aliases import AliasState, Target
    from neo_runtime.snapshot.diff import TypeDiff
    from neo_runtime.snapshot.manifest import Manifest
    from neo_runtime.snapshot.snapshots import Snapshot

Differences = Mapping[str, "TypeDiff"] | None


def would_create(catalog: Path, location: str, json: bool) -> None:
    from neo_runtime.catalog.catalog import open_reader

    reader, _ = open_reader(catalog)
    with closing(reader.store):
        state = reader.state()
    size = sum(path.stat().st_size for path in [catalog / "data.mdb", *(catalog / "segments").glob("*")])
    items = sum(stats.items for stats in state.stats.values())
    about = {"location": location, "generation": state.generation, "items": items, "size_bytes": size}
    if json:
        show.as_json({"would_create": about})
    else:
        show.console.print(
            f"would copy generation {state.generation}, {items:,} items, {_size(size)}, to {location}", soft_wrap=True
        )


def created(manifest: Manifest, location: str, json: bool) -> None:
    if json:
        show.as_json(_manifest_json(manifest))
        return
    items = sum(counts.items for counts in manifest.counts.values())
    show.console.print(
        f"[bold]{manifest.name}[/]: generation {manifest.generation}, {items:,} items, {_size(manifest.size_bytes)}, "
        f"in {location}", soft_wrap=True,
    )  # fmt: skip


def listing(snapshots: Sequence[Snapshot], broken: Mapping[str, str], state: AliasState, json: bool) -> None:
    if json:
        rows = [
            {**_manifest_json(one.manifest), "digest": one.digest, "aliases": state.names_of(one.manifest.name)}
            for one in snapshots
        ]
        show.as_json({"snapshots": rows, "unreadable": broken, "aliases": _aliases_json(state)})
        return
    rows_shown = [
        (
            one.manifest.name, one.manifest.generation, f"{sum(c.items for c in one.manifest.counts.values()):,}",
            _size(one.manifest.size_bytes), ", ".join(state.names_of(one.manifest.name)),
            ", ".join(f"{key}={value}" for key, value in one.manifest.labels.items()),
        )
        for one in snapshots
    ]  # fmt: skip
    show.table(f"{len(snapshots)} snapshots", ("name", "generation", "items", "size", "aliases", "labels"), rows_shown)
    for name, why in broken.items():
        show.errors.print(f"{name}: {why}", markup=False, soft_wrap=True)
    show.console.print(f"served: {_served(state)}", soft_wrap=True)


def manifest(snapshot: Snapshot, json: bool) -> None:
    about = snapshot.manifest
    if json:
        show.as_json({**_manifest_json(about), "digest": snapshot.digest})
        return
    show.console.print(
        f"[bold]{about.name}[/] of catalog {about.catalog} ({about.catalog_id}) · generation {about.generation} · "
        f"{about.create_time} · {_size(about.size_bytes)}", soft_wrap=True,
    )  # fmt: skip
    rows = [
        (name, f"{c.items:,}", f"{c.semantic_ids:,}", f"{c.colliding_items:,}", about.codebooks.get(name, ""))
        for name, c in about.counts.items()
    ]
    show.table("", ("type", "items", "semantic IDs", "colliding", "codebook"), rows)
    if about.offsets:
        show.table("", ("topic", "partition", "next offset"), [(o.topic, o.partition, o.next) for o in about.offsets])
    show.table("", ("file", "size", "SHA-256"), [(p, _size(f.size), f.sha256[:16]) for p, f in about.files.items()])
    show.console.print(f"manifest SHA-256 {snapshot.digest}", soft_wrap=True)


def verified(snapshot: Snapshot, problems: Sequence[str], json: bool) -> None:
    name = snapshot.manifest.name
    if json:
        show.as_json({"name": name, "whole": not problems, "problems": list(problems)})
        return
    for problem in problems:
        show.errors.print(problem, markup=False, soft_wrap=True)
    show.console.print(f"{name} is {'damaged; use another one' if problems else 'whole'}")


def difference(before: Target, after: Target, changes: Differences, json: bool = False) -> None:
    if json:
        show.as_json({"before": str(before), "after": str(after), "types": _difference_json(changes)})
        return
    if changes is None:
        return
    if not changes:
        show.console.print(f"{after} is what is there already")
        return
    rows = [
        (name, f"{d.before:,}", f"{d.after:,}", f"{d.added:,}", f"{d.removed:,}", f"{d.moved:,}")
        for name, d in changes.items()
    ]
    show.table(f"from {before} to {after}", ("type", "items", "then", "added", "removed", "moved"), rows)
    for name, d in changes.items():
        for kind, ids in d.examples.items():
            if ids:
                more = " …" if getattr(d, kind) > len(ids) else ""
                show.console.print(f"[dim]{kind}: {', '.join(f'{name}/{i}' for i in ids)}{more}[/]", soft_wrap=True)


def moved(state: AliasState, words: str, changes: Differences, json: bool, late: Mapping[str, str] = {}) -> None:
    if json:
        about = {"result": words, "types": _difference_json(changes), "late": dict(late)}
        show.as_json({**about, "aliases": _aliases_json(state)})
        return
    show.console.print(f"{words} (move {state.sequence})", soft_wrap=True)
    for address, why in late.items():
        show.errors.print(f"{address} does not serve it yet: {why}", markup=False, soft_wrap=True)


def pruning(rows: Sequence[tuple[Snapshot, str]]) -> None:
    shown = [
        (one.manifest.name, one.manifest.create_time, _size(one.manifest.size_bytes), why or "goes")
        for one, why in rows
    ]
    show.table("", ("name", "created", "size", "stays as"), shown)


def pruned(rows: Sequence[tuple[Snapshot, str]], removed: Sequence[str], json: bool) -> None:
    going = [one for one, why in rows if not why]
    if json:
        kept = {one.manifest.name: why for one, why in rows if why}
        show.as_json({"kept": kept, "prunable": [one.manifest.name for one in going], "removed": list(removed)})
        return
    size = sum(one.manifest.size_bytes for one in going if one.manifest.name in removed)
    show.console.print(f"{len(removed)} removed, {_size(size)} freed" if removed else "nothing removed")


def restored(snapshot: Snapshot, catalog: Path, catalog_id: str, changes: Differences, json: bool) -> None:
    about = snapshot.manifest
    offsets = [{"topic": o.topic, "partition": o.partition, "next": o.next} for o in about.offsets]
    if json:
        done = {"restored": bool(catalog_id), "catalog": str(catalog), "catalog_id": catalog_id, "offsets": offsets}
        show.as_json({**done, "name": about.name, "generation": about.generation, "types": _difference_json(changes)})
    elif catalog_id:
        show.console.print(
            f"{catalog} is at generation {about.generation} of {about.name}; `neo catalog run` catches up from there",
            soft_wrap=True,
        )
    else:
        show.console.print(f"nothing restored; {about.name} would go to {catalog}", soft_wrap=True)


def aliases(state: AliasState, history: Sequence[AliasState], json: bool) -> None:
    if json:
        moves = [
            {"sequence": one.sequence, "time": one.time, "actor": one.actor, "moved": one.moved} for one in history
        ]
        show.as_json({**_aliases_json(state), "moves": moves})
        return
    names = {"live": state.live, **state.aliases}
    rows = [
        (name, str(alias.target), f"{alias.share:g}", "" if alias.share >= 1 else str(alias.rest))
        for name, alias in names.items()
    ]
    show.table("", ("alias", "names", "share", "others stay on"), rows)
    show.table("", ("move", "time", "by", "what"), [(one.sequence, one.time, one.actor, one.moved) for one in history])


def _served(state: AliasState) -> str:
    live = state.live
    if live.share < 1:
        return f"{live.target} by a share of {live.share:g}, {live.rest} by the others"
    return f"{live.target}, pinned" if live.target.snapshot else "the live catalog"


def _aliases_json(state: AliasState) -> dict[str, object]:
    names = {"live": state.live, **state.aliases}
    return {
        "sequence": state.sequence,
        "aliases": {
            name: {
                "snapshot": alias.target.snapshot, "follows_events": not alias.target.snapshot, "share": alias.share,
                "rest": alias.rest.snapshot,
            }
            for name, alias in names.items()
        },
    }  # fmt: skip


def _difference_json(changes: Differences) -> dict[str, object] | None:
    return None if changes is None else {name: msgspec.to_builtins(change) for name, change in changes.items()}


def _manifest_json(about: Manifest) -> dict[str, object]:
    return {**msgspec.to_builtins(about), "resource": about.resource, "size_bytes": about.size_bytes}


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"
