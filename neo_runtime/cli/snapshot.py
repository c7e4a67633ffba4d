"""`neo snapshot …`: take, check, compare, promote, roll back, prune and restore snapshots of a catalog."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neo_runtime.cli import show
from neo_runtime.cli import snapshot_tables as tables
from neo_runtime.cli.ask import AsJson
from neo_runtime.cli.catalog import CatalogFolder
from neo_runtime.cli.serve import override
from neo_runtime.config import Settings
from neo_runtime.errors import StartupError

if TYPE_CHECKING:
    from neo_runtime.snapshot.aliases import AliasState
    from neo_runtime.snapshot.snapshots import Move, Snapshot, Snapshots

app = typer.Typer(help="Immutable copies of a catalog, and which of them is served.", no_args_is_help=True)

Root = Annotated[
    str | None,
    typer.Option(
        "--snapshots", help="Folder or fsspec URL of the snapshots; none: in the catalog's folder.",
        envvar="NEO_SNAPSHOTS",
    ),
]  # fmt: skip
Name = Annotated[str, typer.Argument(help="A snapshot, or an alias of one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, and do not compare items first.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait until the workers serve it; 0: do not wait.")]
Workers = Annotated[
    list[str], typer.Option("--worker", help="Address of a worker to wait for, may be repeated; none: NEO_ADDRESS.")
]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Its name; none: time and generation.")] = "",
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="Kept in the manifest.")] = [],  # noqa: B006
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Take a snapshot of the catalog, while it is written and served.

    neo snapshot create --label why=before-the-sale
    """
    from neo_runtime.snapshot.create import create_snapshot

    settings, found = _open(catalog, snapshots)
    labels = dict(_label(text) for text in label)
    if dry_run:
        tables.would_create(settings.catalog, found.store.location, json)
        return
    bar = show.progress("copying", quiet=json)
    manifest = create_snapshot(settings.catalog, found.store, name=name, labels=labels, progress=bar)
    tables.created(manifest, found.store.location, json)


@app.command("list")
def list_(catalog: CatalogFolder = None, snapshots: Root = None, json: AsJson = False) -> None:
    """Snapshots, newest first, with the aliases that name them."""
    _, found = _open(catalog, snapshots)
    tables.listing(*found.all(), found.aliases.read(), json)


@app.command("show")
def show_(name: Name, catalog: CatalogFolder = None, snapshots: Root = None, json: AsJson = False) -> None:
    """One snapshot's manifest: counts, offsets, fingerprints, files."""
    _, found = _open(catalog, snapshots)
    tables.manifest(_snapshot(found, name), json)


@app.command()
def verify(
    name: Name,
    quick: Annotated[bool, typer.Option(help="Sizes and checksums only.")] = False,
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    json: AsJson = False,
) -> None:
    """Check a snapshot: every byte, LMDB's pages, trie, SIDs and items against each other. Exit code 1: damaged."""
    from neo_runtime.snapshot.restore import on_this_machine
    from neo_runtime.snapshot.verify import verify as check

    settings, found = _open(catalog, snapshots)
    snapshot = _snapshot(found, name)
    folder = found.store.local(snapshot.manifest.name) or on_this_machine(found.store, snapshot, settings.catalog)
    problems = check(folder, snapshot.manifest, show.progress("checking", quiet=json), deep=not quick)
    tables.verified(snapshot, problems, json)
    if problems:
        raise typer.Exit(1)


@app.command()
def diff(
    after: Annotated[str, typer.Argument(help="A snapshot or alias; live: the catalog as events change it.")],
    before: Annotated[str, typer.Argument(help="What it is compared with; none: what is served.")] = "",
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    json: AsJson = False,
) -> None:
    """What clients would see change: items added, removed, moved to another semantic ID.

    neo snapshot diff live 20260101T000000Z-g12
    """
    from neo_runtime.snapshot.compare import compare

    settings, found = _open(catalog, snapshots)
    state = found.aliases.read()
    old = found.resolve(before, state) if before else state.live.target
    new = found.promotion(after, state).target
    difference = compare(found, settings.catalog, old, new, show.progress("comparing", quiet=json))
    tables.difference(old, new, difference, json)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="A snapshot or alias; live: the live catalog again, following events.")],
    alias: Annotated[str, typer.Option(help="The alias that moves.")] = "live",
    share: Annotated[float, typer.Option(help="Of the workers, for a canary; drawn by their names.")] = 1.0,
    wait: Wait = 0.0,
    worker: Workers = [],  # noqa: B006
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Serve a snapshot, and stay on it, until another one or `live` is promoted. Running answers go on.

    neo snapshot promote 20260101T000000Z-g12 --share 0.25
    """
    settings, found = _open(catalog, snapshots)
    state = found.aliases.read()
    move = found.promotion(name, state, alias, share)
    _move(settings, found, state, move, alias, wait, worker, dry_run, yes, json)


@app.command()
def rollback(
    name: Annotated[
        str, typer.Argument(help="Snapshot or alias; none: what was served before, else the newest snapshot.")
    ] = "",
    wait: Wait = 0.0,
    worker: Workers = [],  # noqa: B006
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Back to what was served before, and stay there, until `neo snapshot promote live`."""
    settings, found = _open(catalog, snapshots)
    state = found.aliases.read()
    _move(settings, found, state, found.rollback(name, state), "live", wait, worker, dry_run, yes, json)


def _move(
    settings: Settings, found: Snapshots, state: AliasState, move: Move, alias: str, wait: float, worker: list[str],
    dry_run: bool, yes: bool, json: bool,
) -> None:  # fmt: skip
    """Check, compare, ask, move, wait."""
    from neo_runtime.cli.rollout import wait_for
    from neo_runtime.snapshot.aliases import LIVE, Alias
    from neo_runtime.snapshot.compare import compare

    old = state.live.target if alias == LIVE else state.aliases.get(alias, Alias(move.target)).target
    found.check(move.target, show.progress("checking", quiet=json))
    changes = None
    if not yes:
        changes = compare(found, settings.catalog, old, move.target, show.progress("comparing", quiet=json))
    words = move.change(dict(state.aliases))
    if not json:
        tables.difference(old, move.target, changes)
    if dry_run or not _confirmed(f"move {words}", yes=yes, json=json):
        tables.moved(state, f"would move {words}", changes, json)
        return
    after = found.aliases.move(move.change, expected=state.sequence)
    late = wait_for(worker or [settings.address], after.sequence, wait) if wait else {}
    tables.moved(after, f"moved {words}", changes, json, late)
    if late:
        raise typer.Exit(1)


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="Newest snapshots that stay.")] = 5,
    days: Annotated[float | None, typer.Option(help="Those younger than this stay too.")] = None,
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Remove old snapshots. One that an alias names never goes."""
    _, found = _open(catalog, snapshots)
    rows = found.prunable(keep=keep, younger_than=None if days is None else timedelta(days=days))
    going = [snapshot for snapshot, why in rows if not why]
    if not json:
        tables.pruning(rows)
    words = f"remove {len(going)} snapshots"
    if dry_run or not going or not _confirmed(words, yes=yes, json=json):
        tables.pruned(rows, [], json)
        return
    tables.pruned(rows, found.prune(going, show.progress("removing", quiet=json)), json)


@app.command()
def restore(
    name: Name,
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    replace: Annotated[
        bool, typer.Option(help="Move a catalog that is there aside, into its folder `replaced`.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Make a snapshot the live catalog in --catalog. Its catalog worker then catches up from the offsets inside."""
    from neo_runtime.snapshot.aliases import EVENTS
    from neo_runtime.snapshot.compare import compare
    from neo_runtime.snapshot.restore import is_occupied
    from neo_runtime.snapshot.restore import restore as bring_back

    settings, found = _open(catalog, snapshots)
    snapshot = _snapshot(found, name)
    changes = None
    if is_occupied(settings.catalog) and not yes:
        if not replace:
            raise StartupError(f"{settings.catalog} already holds a catalog; use --replace, or name another folder")
        bar = show.progress("comparing", quiet=json)
        try:
            changes = compare(found, settings.catalog, EVENTS, snapshot.target, bar)
        except StartupError as error:  # it may be damaged: that is what one restores for
            show.errors.print(f"what is there cannot be compared: {error}", markup=False, soft_wrap=True)
    if not json:
        tables.difference(EVENTS, snapshot.target, changes)
    words = f"restore {snapshot.manifest.name} into {settings.catalog}"
    if dry_run or not _confirmed(words, yes=yes, json=json):
        tables.restored(snapshot, settings.catalog, "", changes, json)
        return
    bar = show.progress("copying", quiet=json)
    catalog_id = bring_back(found.store, snapshot, settings.catalog, bar, replace=replace)
    tables.restored(snapshot, settings.catalog, catalog_id, changes, json)


@app.command()
def aliases(
    remove: Annotated[str, typer.Option(help="Forget this alias of your own.")] = "",
    moves: Annotated[int, typer.Option(help="Newest moves shown.")] = 10,
    catalog: CatalogFolder = None,
    snapshots: Root = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """What the aliases name, and who moved them last. `neo snapshot promote NAME --alias ALIAS` makes one."""
    from neo_runtime.snapshot.aliases import forget

    _, found = _open(catalog, snapshots)
    if remove:
        change, state = forget(remove), found.aliases.read()
        words = change(dict(state.aliases))
        if dry_run:
            tables.moved(state, f"would say: {words}", None, json)
            return
        found.aliases.move(change, expected=state.sequence)
    tables.aliases(found.aliases.read(), found.aliases.history(moves), json)


def _open(catalog: Path | None, snapshots: str | None) -> tuple[Settings, Snapshots]:
    from neo_runtime.snapshot.snapshots import Snapshots

    settings = override(catalog=catalog, snapshots=snapshots)
    return settings, Snapshots.of(settings)


def _snapshot(found: Snapshots, name: str) -> Snapshot:
    state = found.aliases.read()
    target = found.resolve(name, state)
    if not target.snapshot:
        raise StartupError(f"{name} follows events: it is no snapshot; `neo snapshot list` names those")
    return found.named(target.snapshot)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"a label is KEY=VALUE, not {text!r}")
    return key, value


def _confirmed(words: str, *, yes: bool, json: bool) -> bool:
    if yes:
        return True
    if json:
        raise StartupError(f"nothing is changed without being asked: add --yes to {words}, or --dry-run")
    return typer.confirm(f"{words}?", err=True)
