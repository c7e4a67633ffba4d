"""`neo catalog dead-letters`: events that were refused: list them, explain one, put them back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape

from neo_runtime.catalog.records import DeadLetter
from neo_runtime.cli import show
from neo_runtime.cli.ask import AsJson
from neo_runtime.cli.serve import override
from neo_runtime.errors import StartupError
from neo_runtime.types import ItemKey, Position

if TYPE_CHECKING:
    from neo_runtime.catalog.tables import Transaction

app = typer.Typer(help="Events that were refused: list them, explain one, put them back.", invoke_without_command=True)

CatalogFolder = Annotated[Path | None, typer.Option("--catalog", help="Folder of the catalog.", envvar="NEO_CATALOG")]
Reason = Annotated[str, typer.Option(help="Only those of this reason.")]
Since = Annotated[str, typer.Option(help="Only those refused since, as 2026-05-01 or with a time (UTC).")]
Limit = Annotated[int, typer.Option(help="Newest ones shown.", min=1)]
Bootstrap = Annotated[
    str | None, typer.Option("--kafka", help="Kafka brokers, host:port.", envvar="NEO_KAFKA_BOOTSTRAP")
]


@app.callback()
def dead_letters(
    context: typer.Context,
    catalog: CatalogFolder = None,
    reason: Reason = "",
    since: Since = "",
    limit: Limit = 20,
    json: AsJson = False,
) -> None:
    """Events that were refused: where they came from and why.

    neo catalog dead-letters --reason UNKNOWN_TYPE
    """
    command = context.invoked_subcommand
    if command is None:
        listed(catalog, reason, since, limit, json)
    elif misplaced := [name for name in context.params if _is_given(context, name)]:  # it would not hear of them
        raise typer.BadParameter(f"write --{misplaced[0]} behind {command!r}, not before it")


@app.command("list")
def listed(
    catalog: CatalogFolder = None, reason: Reason = "", since: Since = "", limit: Limit = 20, json: AsJson = False
) -> None:
    """Events that were refused, the newest last; the same as without a command.

    neo catalog dead-letters list --since 2026-05-01
    """
    letters, total, overtaken = _read(catalog)
    since_us = _moment(since)
    wanted = [
        (number, x)
        for number, x in letters
        if x.time_us >= since_us and (not reason or x.reason == reason)
    ][-limit:]  # fmt: skip
    rows = [(number, _origin(x), x.reason, x.message, _short(x.key), _short(x.value)) for number, x in wanted]
    columns = ("number", "origin", "reason", "message", "key", "value")
    if json:
        found = [
            {**dict(zip(columns, row, strict=True)), "changed_since": letter.position in overtaken}
            for row, (_, letter) in zip(rows, wanted, strict=True)
        ]
        show.as_json({"total": total, "dead_letters": found})
    else:
        cells = [[escape(_printable(str(cell))) for cell in row] for row in rows]
        show.table(f"{len(rows)} of {total} dead letters", columns, cells)


@app.command()
def explain(
    number: Annotated[int, typer.Argument(help="Number of the letter, from the list.")],
    catalog: CatalogFolder = None,
    json: AsJson = False,
) -> None:
    """One dead letter: what it was, which rule it broke, and what to do.

    neo catalog dead-letters explain 7
    """
    from neo_runtime.ingest import replay

    letters, _, overtaken = _read(catalog)
    (letter,) = replay.chosen(letters, [number], "", all_of_them=False)
    about = {
        "number": number,
        "origin": _origin(letter),
        "refused": datetime.fromtimestamp(letter.time_us / 1e6, UTC).isoformat(timespec="seconds"),
        "key": _short(letter.key),
        "headers": [{"name": name, "value": _short(value)} for name, value in letter.headers],
        "value": replay.shown(letter, availability_topic=override(catalog=catalog).availability_topic),
        "reason": letter.reason,
        "message": letter.message,
        "changed_since": letter.position in overtaken,
        "advice": replay.advice(letter.reason),
    }
    if json:
        show.as_json(about)
        return
    about["headers"] = "\n".join(f"{name}: {_short(value)}" for name, value in letter.headers)
    for name, content in about.items():
        show.console.print(f"[bold]{name}[/]")
        show.console.print(_printable(str(content)), markup=False, highlight=False)


@app.command("replay")
def put_back(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of letters, from the list.")] = None,
    reason: Reason = "",
    everything: Annotated[bool, typer.Option("--all", help="All that are kept.")] = False,
    catalog: CatalogFolder = None,
    kafka: Bootstrap = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put back, put nothing back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Put refused records back where they came from, once their cause is mended. What fails again is a new letter.

    neo catalog dead-letters replay --reason EMBEDDING_MISSING
    """
    from neo_runtime.ingest import replay

    settings = override(catalog=catalog, kafka_bootstrap=kafka)
    letters, _, overtaken = _read(catalog)
    chosen = replay.chosen(letters, numbers or [], reason, all_of_them=everything)
    found = replay.plan(
        chosen, has_kafka=bool(settings.kafka_bootstrap), assignments_topic=settings.assignments_topic
    )  # fmt: skip
    changed = sum(letter.position in overtaken for letter in (*found.kafka, *found.lines))
    going = [(count, why, target) for (target, why), count in found.counts().items()]
    for letter, obstacle in found.impossible:
        show.errors.print(f"{_origin(letter)} stays: {obstacle}", markup=False, highlight=False)
    if not json:
        lines = [f"{count:,} {why} to {target}" for count, why, target in going] or ["nothing to put back"]
        if changed:
            lines.append(f"{changed:,} of them are of items that changed since: what is newer stays")
        show.console.print("\n".join(lines), markup=False, highlight=False)
    done = 0
    if going and not dry_run and _confirmed(yes=yes, json=json):
        done = replay.replay(found, settings)
    if json:
        records = [{"count": count, "reason": why, "target": target} for count, why, target in going]
        stay = len(found.impossible)
        show.as_json({"records": records, "stay": stay, "changed_since": changed, "replayed": done})
    elif done:
        show.console.print(f"put back {done:,}; what is refused again is a new letter")
    if found.impossible and not going:
        raise typer.Exit(1)


def _confirmed(*, yes: bool, json: bool) -> bool:
    if json and not yes:
        raise StartupError("scripts are not asked, so nothing was put back: add --yes, or --dry-run to only see")
    return yes or typer.confirm("Put them back?", err=True)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class _Kept(NamedTuple):
    """`overtaken`: letters whose log has changed their item since."""

    letters: list[tuple[int, DeadLetter]]
    total: int
    overtaken: set[Position]


def _read(catalog: Path | None) -> _Kept:
    from neo_runtime.catalog.catalog import open_reader

    reader, _ = open_reader(override(catalog=catalog).catalog)
    with reader.store.read() as txn:
        letters, total = list(txn.dead_letters()), txn.state().dead_letters
        overtaken = {letter.position for _, letter in letters if _is_overtaken(letter, txn)}
    reader.store.close()
    return _Kept(letters, total, overtaken)


def _is_overtaken(letter: DeadLetter, txn: Transaction) -> bool:
    try:
        key = ItemKey.parse((letter.key or b"").decode())
    except ValueError:  # UnicodeDecodeError is one
        return False
    record = txn.item(key)
    return record is not None and record.is_newer_than(letter.position)


def _moment(text: str) -> int:
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-05-01 or 2026-05-01T12:00") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _origin(letter: DeadLetter) -> str:
    return f"{letter.topic}[{letter.partition}]@{letter.offset}"


def _printable(text: str) -> str:
    """What a terminal would obey, or not show, as escapes: a refused record may hold anything."""
    return "".join(x if x.isprintable() or x == "\n" else x.encode("unicode_escape").decode() for x in text)


def _short(value: bytes | None) -> str:
    return "" if value is None else value[:120].decode(errors="replace")
