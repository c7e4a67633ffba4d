"""`neo rank`, `neo generate`, `neo status`: a client of a running worker."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from neo_runtime.cli import show
from neo_runtime.cli.where import parse_filter, parse_where, together
from neo_runtime.client import Finish, ItemSpan, NeoClient, Start, Text, generate_request, rank_request
from neo_runtime.config import DEFAULT_ADDRESS, Settings
from neo_runtime.trie.predicate import Predicate
from neo_runtime.types import ItemKey

Address = Annotated[
    str, typer.Option(help="Address of the generation worker.", envvar="NEO_ADDRESS", show_default=DEFAULT_ADDRESS)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
History = Annotated[
    list[ItemKey], typer.Option(parser=ItemKey.parse, metavar="TYPE/ID", help="An item the user liked, oldest first.")
]
Deny = Annotated[list[ItemKey], typer.Option(parser=ItemKey.parse, metavar="TYPE/ID", help="Never this item.")]
Allow = Annotated[list[ItemKey], typer.Option(parser=ItemKey.parse, metavar="TYPE/ID", help="Only these items.")]
Where = Annotated[
    list[Predicate],
    typer.Option(
        parser=parse_where,
        metavar="CONDITION",
        help="Only items that match: year>=1990, year<2000, genres=war,crime, title!=Dune. Several: all of them.",
    ),
]
Tree = Annotated[
    Predicate | None, typer.Option("--filter", parser=parse_filter, metavar="JSON", help="A whole filter tree.")
]
Named = Annotated[list[str], typer.Option(metavar="NAME", help="A filter that the worker's configuration declares.")]
Region = Annotated[str, typer.Option(help="Where the user is; none: items limited to regions are left out.")]
NewItemBonus = Annotated[
    float,
    typer.Option(
        "--new-bonus",
        help="Above 0: items published after the model was trained come sooner. 1 is a factor of e, 10 the most.",
    ),
]


class OutputFormat(StrEnum):
    """What an answer may hold."""

    mixed = "mixed"
    items = "items"
    text = "text"


def rank(
    item_type: Annotated[str, typer.Argument(help="Type of the wanted items, for example film.")],
    query: Annotated[str, typer.Argument(help="Words to search by; none: recommend for the history.")] = "",
    history: History = [],  # noqa: B006
    limit: Annotated[int, typer.Option("--limit", "-n", help="Length of the list.")] = 10,
    allow: Allow = [],  # noqa: B006
    deny: Deny = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    tree: Tree = None,
    named: Named = [],  # noqa: B006
    region: Region = "",
    new_bonus: NewItemBonus = 0.0,
    address: Address = "",
    json: AsJson = False,
) -> None:
    """A ranked list: for a history, or for words.

    neo rank film --history film/alien-1979 --history book/dune-1965
    neo rank book "detective murder mystery" -n 5 --json
    neo rank film --where "year>=1990" --where "genres=war,crime"
    """
    with NeoClient(address or Settings().address) as client:
        answer = client.rank(
            rank_request(
                item_type, prompt=query, task="retrieve" if query else "recommend", history=history, limit=limit,
                allow=allow, deny=deny, where=together(where, tree), named_filters=named, region=region,
                attributes=["year"], include_sids=json, new_item_bonus=new_bonus,
            )
        )  # fmt: skip
    if json:
        show.as_json(show.ranking_json(answer))
    else:
        show.ranking(answer, f"{item_type} · generation {answer.generation}")


def generate(
    prompt: Annotated[str, typer.Argument(help="What to say to the model.")] = "",
    item_type: Annotated[
        str, typer.Option("--recommend", help="Instead of a prompt: recommend this type and say why.", metavar="TYPE")
    ] = "",
    describe: Annotated[
        str, typer.Option(help="Instead of a prompt: put this item into words.", metavar="TYPE/ID")
    ] = "",
    history: History = [],  # noqa: B006
    deny: Deny = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    tree: Tree = None,
    named: Named = [],  # noqa: B006
    region: Region = "",
    new_bonus: NewItemBonus = 0.0,
    output: Annotated[OutputFormat, typer.Option(help="What the answer may hold.")] = OutputFormat.mixed,
    temperature: Annotated[float, typer.Option(help="0: the likeliest words.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes a temperature above 0 repeatable.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Text tokens at most.")] = None,
    address: Address = "",
    json: AsJson = False,
) -> None:
    """Text and items, printed as they are decided.

    neo generate "Recommend three films about war."
    neo generate --recommend film --history film/alien-1979
    """
    if not (prompt or item_type or describe):
        raise typer.BadParameter("give a prompt, --recommend TYPE or --describe TYPE/ID")
    subject = [ItemKey.parse(describe)] if describe else prompt
    request = generate_request(
        subject, task="understand" if describe else "explain" if item_type else None, item_type=item_type,
        history=history, deny=deny, where=together(where, tree), named_filters=named, region=region,
        new_item_bonus=new_bonus, output=output.value, temperature=temperature, seed=seed, max_output_tokens=max_tokens,
    )  # fmt: skip
    with NeoClient(address or Settings().address) as client:
        if json:
            show.as_json([_event_json(event) for event in client.generate(request)])
        else:
            stream(client, request)


def stream(client: NeoClient, request: object) -> Finish | None:
    """Print a stream as it arrives, item titles in place of codes; returns its last event."""
    for event in client.generate(request):  # type: ignore[arg-type]
        if isinstance(event, Text):
            show.console.print(event.text, end="", markup=False, highlight=False)
        elif isinstance(event, ItemSpan):
            show.console.print(f"[bold cyan]{escape(event.item.title)}[/]", end="", highlight=False)
        elif isinstance(event, Finish):
            show.console.print(
                f"  [dim]({event.reason.replace('_', ' ')})[/]" if event.reason != "end_of_sequence" else ""
            )
            return event
    return None


def _event_json(event: Start | Text | ItemSpan | Finish) -> dict[str, object]:
    match event:
        case Start():
            return {"start": event.response_id, "snapshot": event.snapshot, "generation": event.generation}
        case Text():
            return {"text": event.text}
        case ItemSpan():
            item = event.item
            source = {"snapshot": event.snapshot, "generation": event.generation}
            return {"item": str(item.key), "title": item.title, **source}
        case Finish():
            return {"finish": event.reason, "text_tokens": event.usage.text_tokens}


def status(address: Address = "", json: AsJson = False) -> None:
    """What the worker serves, and what the catalog holds."""
    with NeoClient(address or Settings().address) as client:
        info, catalog = client.serving_info(), client.catalog()
    if json:
        show.as_json({"serving": info, "catalog": catalog})
        return
    show.console.print(
        f"[bold]{info.models[0]}[/] on {address or Settings().address} · {catalog.state.snapshot} · "
        f"generation {catalog.state.generation} · {info.running_requests} running, {info.queued_requests} queued"
    )
    if info.swap_failure:
        show.errors.print(f"a newer move of the aliases is not served: {info.swap_failure}", markup=False)
    show.table(
        "", ("type", "items", "semantic IDs", "colliding", "codebook"),
        [(t.item_type, t.items, t.semantic_ids, t.colliding_items, t.codebook) for t in catalog.type_stats],
    )  # fmt: skip
    ends = {(part.topic, part.partition): part.end_offset for part in catalog.lag}
    parts = [(p.topic, p.partition, p.next_offset) for p in catalog.position.partitions]
    if parts:
        rows = [(*part, max(0, ends[part[:2]] - part[2]) if part[:2] in ends else "") for part in parts]
        show.table("", ("topic", "partition", "next offset", "lag"), rows)
    behind = sum(part.end_offset - part.next_offset for part in catalog.lag)
    show.console.print(f"lag {behind:,} · dead letters {catalog.dead_letters} · stale events {catalog.stale_events}")
