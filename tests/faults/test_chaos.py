"""Assigner, standby, replica and serving worker, killed and paused at random under load, against a fold of the log.

`NEO_CHAOS_SECONDS` sets how long, `NEO_CHAOS_SEED` what is drawn.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.client import NeoClient, rank_request
from neo_runtime.types import ItemKey
from tests.kit import availability, brokers, changes, dump, fold, processes, tiny
from tests.kit.asking import Answer, Asker, Named
from tests.kit.availability import IN_NORWAY, NOWHERE, OVER, AvailabilityFold, Fact
from tests.kit.brokers import Record, Topics
from tests.kit.changes import JSON, PROTOBUF, Bad, Change
from tests.kit.chaos import SESSION_S, Chaos, Journal, Player, explanation
from tests.kit.workers import CatalogWorker, kafka_worker, until

SECONDS = float(os.environ.get("NEO_CHAOS_SECONDS", "120"))
SEED = int(os.environ.get("NEO_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
PATIENCE_S = 180.0  # to catch up once nothing is struck any more
EAGER = "tests.kit.eager"
NUMBER = "test-number"
ASKERS = 2

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(int(SECONDS) + 600)]

HIDDEN = {f"film/f{number}": (NOWHERE, OVER) for number in range(10)}
NORWEGIAN = {f"film/f{number}": (IN_NORWAY,) for number in range(10, 20)}
FACTS = dict.fromkeys(tiny.items(30), (NOWHERE, OVER, IN_NORWAY, availability.EVERYWHERE, None)) | HIDDEN | NORWEGIAN
"""What may be said of the availability of items; of most nothing is ever said."""


class Publisher(threading.Thread):
    """A catalog team and a rights team. What was said has its place in `said` as its number in the log."""

    def __init__(self, bootstrap: str, topics: Topics, seed: int) -> None:
        super().__init__(name="publisher", daemon=True)
        self._broker, self._topics, self._rng = bootstrap, topics, random.Random(seed)
        self._changes = iter(changes.random_changes(seed, int(SECONDS + 60) * 200, tombstones=True))
        self._stopped = threading.Event()
        self.said: list[Change | Bad | Fact] = []
        self.said_at: list[float] = []
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Facts that hold for all of the test, before there is any of their items."""
        self.said = [Fact(item, 0, windows[0]) for item, windows in (HIDDEN | NORWEGIAN).items()]
        self.said_at = [time.time()] * len(self.said)
        brokers.send(self._broker, self._topics.availability, [self._record(n)[1] for n in range(len(self.said))])

    def stop(self) -> None:
        self._stopped.set()
        self.join(120)
        assert not self.is_alive()
        if self.failure:
            raise self.failure

    def run(self) -> None:
        try:
            with brokers.producing(self._broker) as producer:
                under_way = []
                while not self._stopped.wait(self._rng.uniform(0, 0.5)):
                    for _ in range(self._rng.randrange(1, 20)):
                        topic, record = self._next()
                        under_way.append(producer.send(topic, **record._asdict()))
                for future in under_way:
                    future.get(timeout=60)
        except BaseException as error:
            self.failure = error

    def _next(self) -> tuple[str, Record]:
        number = len(self.said)
        drawn = self._rng.random()
        if drawn < 0.02:
            self.said.append(Bad(Record(f"film/bad{number}".encode(), b"{cut", [], number % 3), "UNDECODABLE"))
        elif drawn < 0.12:
            self.said.append(availability.random_fact(self._rng, FACTS, number + 60))
        else:
            self.said.append(next(self._changes))
        self.said_at.append(time.time())
        return self._record(number)

    def _record(self, number: int) -> tuple[str, Record]:
        """All item records are of about the same old time, as tombstones have to be. Old and new ones side by side
        would make the broker begin a new segment, and compact the log that the fold is to be made from.
        """
        said = self.said[number]
        if isinstance(said, Fact):
            topic, record = self._topics.availability, availability.record(said)
        elif isinstance(said, Bad):
            topic, record = self._topics.items, said.record._replace(timestamp_ms=changes.START_US // 1_000 + number)
        else:
            record = changes.record(said, (JSON, PROTOBUF)[number % 2])
            topic, record = self._topics.items, record._replace(timestamp_ms=said.time_us // 1_000)
        return topic, record._replace(headers=[*record.headers, (NUMBER, str(number).encode())])


class ServingWorker:
    """`neo serve` on one address, as often as it is started."""

    def __init__(self, catalog: Path, model: Path, folder: Path) -> None:
        self.address, self._log_file = f"127.0.0.1:{processes.free_port()}", folder / "serve.log"
        self._arguments = ["--catalog", str(catalog), "--model", str(model), "--listen", self.address]
        self.process: Any = None

    def start(self, *, wait: bool = True) -> None:
        self.process = processes.start(
            "serve",
            *self._arguments,
            log=self._log_file,
            env={"NEO_TORCH_THREADS": "1", "NEO_DTYPE": "float32"},
            module=EAGER,
        )
        if wait:
            with NeoClient(self.address) as client:
                client.wait_ready(PATIENCE_S)

    def log(self) -> str:
        return self._log_file.read_text() if self._log_file.exists() else ""


@dataclass
class Stage:
    """Everything that takes part."""

    bootstrap: str
    topics: Topics
    workers: dict[str, CatalogWorker]
    serving: ServingWorker
    publisher: Publisher
    chaos: Chaos
    journal: Journal
    askers: list[Asker] = field(default_factory=list)
    asking_ended: threading.Event = field(default_factory=threading.Event)

    @property
    def assigners(self) -> list[CatalogWorker]:
        return [self.workers["one"], self.workers["two"]]

    def begin(self) -> None:
        """All facts that hold throughout are known to everyone before anything can go wrong."""
        one, two, replica = self.workers.values()
        one.start()
        self.publisher.begin()
        for worker in (two, replica):
            worker.start(wait=False)
        ends = brokers.end_offsets(self.bootstrap, self.topics.availability)
        for worker in (one, two, replica):
            worker.wait(lambda worker=worker: worker.logged("ready") or worker.logged("standing by"), "a whole catalog")
            worker.read_up_to(ends, PATIENCE_S)
        self.publisher.start()
        replica.wait(lambda: replica.reader.state().generation > 5, "a replica at work", PATIENCE_S)
        self.serving.start()
        for number in range(ASKERS):
            self.askers.append(Asker(self.serving.address, SEED + number, self.asking_ended))
            self.askers[-1].start()

    def settle(self) -> CatalogWorker:
        """The assigner that has everything, once all others have it too."""
        self.publisher.stop()
        self.chaos.calm()
        self.journal.note("no strikes from here on")
        items, said = (brokers.end_offsets(self.bootstrap, t) for t in (self.topics.items, self.topics.availability))
        leading: list[CatalogWorker] = []

        def is_done() -> bool:
            leading[:] = [worker for worker in self.assigners if self._has_all(worker, items | said)]
            if len(leading) != 1:
                return False
            others = [worker for worker in self.workers.values() if worker is not leading[0]]
            return all(has_read(worker, said) and held(worker) == held(leading[0]) for worker in others)

        until(is_done, "one assigner with everything, and two equal followers", self._offsets, PATIENCE_S)
        return leading[0]

    def _has_all(self, worker: CatalogWorker, ends: dict[tuple[str, int], int]) -> bool:
        return worker.reader.state().assigns and has_read(worker, ends) and worker.outbox() == 0

    def _offsets(self) -> str:
        return "\n".join(
            f"{name}: {worker.reader.state()} {worker.reader.offsets()} outbox {worker.outbox()}"
            for name, worker in self.workers.items()
        )

    def answers(self) -> list[Answer]:
        return [answer for asker in self.askers for answer in asker.answers]

    def problems(self) -> list[str]:
        return [*self.chaos.problems, *(problem for asker in self.askers for problem in asker.problems)]


def has_read(worker: CatalogWorker, ends: dict[tuple[str, int], int]) -> bool:
    offsets = worker.reader.offsets()
    return all(offsets.get(place) == end for place, end in ends.items())


def held(worker: CatalogWorker) -> dict[str, dump.Rows]:
    """What is said of items and of who has which SID, as bytes."""
    tables = dump.tables(worker.reader.store)
    return {name: tables[name] for name in ("items", "sid_items")}


@pytest.fixture
def stage(bootstrap: str, topics: Topics, model_folder: Path, tmp_path: Path) -> Iterator[Stage]:
    journal = Journal()
    with ExitStack() as undo:
        workers = {}
        for name, role in (("one", "assigner"), ("two", "assigner"), ("replica", "replica")):
            (tmp_path / name).mkdir()
            worker = undo.enter_context(
                kafka_worker(
                    tmp_path / name, model_folder, bootstrap, topics, role=role, max_batch="20",
                    session_seconds=str(SESSION_S),
                )
            )  # fmt: skip
            worker.module = EAGER
            workers[name] = worker
        workers["one"].env["EAGER_COMPACTION"] = "aside"
        serving = ServingWorker(workers["replica"].catalog, model_folder, tmp_path)
        players = [
            Player(name, workers[name], ("ready", "standing by"), ("taken over", "has assigned meanwhile"), weight=2)
            for name in ("one", "two")
        ]
        players += [Player("replica", workers["replica"], ("ready",), weight=2)]
        players += [Player("serving", serving, ("serving",))]
        chaos = Chaos(players, SEED, journal)
        stage = Stage(bootstrap, topics, workers, serving, Publisher(bootstrap, topics, SEED), chaos, journal)
        undo.callback(lambda: serving.process and (serving.process.kill(), serving.process.wait()))
        undo.callback(stage.asking_ended.set)
        undo.callback(lambda: chaos.end() if chaos.is_alive() else None)
        yield stage


@contextmanager
def explained(stage: Stage) -> Iterator[None]:
    """A failure says how it came about."""
    try:
        yield
    except BaseException:
        print(explanation(SEED, stage.journal, stage.chaos.players))
        raise


def test_whoever_is_killed_when_everyone_agrees_with_the_log_in_the_end_and_no_answer_was_ever_wrong(
    stage: Stage,
) -> None:
    with explained(stage):
        stage.begin()
        stage.chaos.start()
        over_at = time.monotonic() + SECONDS
        while time.monotonic() < over_at and not stage.problems():
            time.sleep(0.2)
        leader = stage.settle()
        log = brokers.read_topic(stage.bootstrap, stage.topics.items)
        published = brokers.read_topic(stage.bootstrap, stage.topics.assignments)
        history = History(stage.publisher, log)
        facts = facts_of(stage)
        assert_all_is_in(stage, leader, history.fold, published, facts)
        assert_dead_letters(stage, log)
        assert_served_in_the_end(stage, history.fold, facts)
        stage.asking_ended.set()
        for asker in stage.askers:
            asker.join(60)
            assert not asker.is_alive()
        assert stage.problems() == []
        assert_answers(stage, history, published)
        stage.chaos.end()
        assert not [player.name for player in stage.chaos.players if "Traceback" in player.running.log()]
        print(summary(stage))


def summary(stage: Stage) -> str:
    struck = {player.name: player.struck for player in stage.chaos.players}
    answers = Counter((answer.kind, answer.is_whole) for answer in stage.answers())
    away = sum((asker.away for asker in stage.askers), Counter[str]())
    return (
        f"seed {SEED}: struck {struck}, said {len(stage.publisher.said)}, answers {dict(answers)}, errors {dict(away)}"
    )


class History:
    """The fold of the log, and when each item was first said to be on each SID that it ever had."""

    def __init__(self, publisher: Publisher, log: list[Any]) -> None:
        numbers = [number_of(record) for record in log]
        expected = [n for n, said in enumerate(publisher.said) if not isinstance(said, Fact)]
        assert sorted(numbers) == expected
        self.fold = fold.Fold()
        self.since: dict[tuple[ItemKey, fold.Codes], float] = {}
        self.titles: dict[ItemKey, set[str]] = defaultdict(set)
        for number in numbers:
            said = publisher.said[number]
            assert not isinstance(said, Fact)
            self.fold.say(said)
            if isinstance(said, Change) and said.title is not None:
                self.titles[said.key].add(said.title)
                known = self.fold.known[said.key]
                if known.codes is not None:
                    self.since.setdefault((said.key, known.codes), publisher.said_at[number])


def number_of(record: Any) -> int:
    return int(dict(record.headers)[NUMBER])


def facts_of(stage: Stage) -> AvailabilityFold:
    """In the order of the log."""
    facts = [stage.publisher.said[number_of(record)] for record in read_availability(stage)]
    return AvailabilityFold(fact for fact in facts if isinstance(fact, Fact))


def read_availability(stage: Stage) -> list[Any]:
    return brokers.read_topic(stage.bootstrap, stage.topics.availability)


def assert_all_is_in(
    stage: Stage, leader: CatalogWorker, expected: fold.Fold, published: list[Any], facts: AvailabilityFold
) -> None:
    """In every catalog and on the changelog, and nowhere two items on one SID."""
    said = {str(key): (fact.windows, fact.time_us) for key, fact in facts.known.items()}
    for worker in stage.workers.values():
        fold.assert_holds_fold(worker.reader, expected)
        assert held(worker) == held(leader)
        with worker.reader.store.read() as txn:
            stored = {item: txn.availability(ItemKey.parse(item)) for item in FACTS}
        assert {item: (fact.windows, fact.event_time_us) for item, fact in stored.items() if fact} == said
    assert fold.assigned(published) == expected.assignments()
    told = Counter(map(fold.assignment, published))
    assert told.keys() == expected.told.keys()
    assert told >= expected.told, "a state that was left out"


def assert_dead_letters(stage: Stage, log: list[Any]) -> None:
    """Every bad record at least once, nothing else, and again only as the same."""
    bad = {(x.partition, x.offset): x for x in log if isinstance(stage.publisher.said[number_of(x)], Bad)}
    found = set()
    for letter in brokers.read_topic(stage.bootstrap, stage.topics.dead_letters):
        headers = dict(letter.headers)
        origin = int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])
        assert (letter.key, letter.value) == (bad[origin].key, bad[origin].value)
        found.add(origin)
    assert found == bad.keys()


def assert_served_in_the_end(stage: Stage, expected: fold.Fold, facts: AvailabilityFold) -> None:
    """The widest ranking names all items that may be shown, each on its SID, and none else."""
    now_us = time.time_ns() // 1_000
    with NeoClient(stage.serving.address) as client:
        client.wait_ready(PATIENCE_S)
        for kind, region in ((kind, region) for kind in tiny.TYPES for region in availability.REGIONS):
            shown = {k: codes for k, codes in expected.live().items() if k.type == kind}
            shown = {k: codes for k, codes in shown.items() if facts.is_shown(k, region, now_us)}
            answer = client.rank(rank_request(kind, region=region, limit=512, include_sids=True))
            assert {row.item.key: row.codes for row in answer.results} == shown
            assert {row.item.key: row.item.title for row in answer.results} == {
                key: expected.known[key].change.title for key in shown
            }


def assert_answers(stage: Stage, history: History, published: list[Any]) -> None:
    """Each answer against the log up to its moment, the changelog, and all the others.

    Two items may share a SID for a moment: the changelog has its order per partition, so a replica may hear of the one
    that came before it hears of the one that went.
    """
    told_at: dict[tuple[str, fold.Codes | None], float] = {}
    for record in published:
        told_at.setdefault(fold.assignment(record), record.timestamp / 1e3)
    places: dict[tuple[int, ItemKey], fold.Codes] = {}
    answers = stage.answers()
    assert {answer.kind for answer in answers if answer.is_whole and answer.named} == {"rank", "stream"}
    for answer in answers:
        for generation, named in answer.named:
            assert_true_then(answer, named, history, told_at)
            place = (generation, named.key)
            assert places.setdefault(place, named.codes) == named.codes, f"two SIDs of {place}"
    assert_generations_go_on(answers)


def assert_true_then(
    answer: Answer, named: Named, history: History, told_at: dict[tuple[str, fold.Codes | None], float]
) -> None:
    about, never = f"{named} in {answer.kind} of region {answer.region!r}", float("inf")
    assert history.since.get((named.key, named.codes), never) <= answer.received_s, f"never said by then: {about}"
    assert told_at.get((str(named.key), named.codes), never) <= answer.received_s, f"never published by then: {about}"
    assert named.title in history.titles[named.key] | {""}, about  # none where it was deleted meanwhile
    assert str(named.key) not in HIDDEN, f"must not be shown: {about}"
    assert str(named.key) not in NORWEGIAN or answer.region == "NO", f"must not be shown there: {about}"


def assert_generations_go_on(answers: list[Answer]) -> None:
    """Whoever asks after an answer has come gets that generation or a later one, whoever was killed in between."""
    ended = sorted((answer for answer in answers if answer.generations), key=lambda answer: answer.received_s)
    asked = sorted(ended, key=lambda answer: answer.asked_s)
    newest, place = 0, 0
    for answer in asked:
        while ended[place].received_s < answer.asked_s:
            newest = max(newest, *ended[place].generations)
            place += 1
        assert answer.generations == sorted(answer.generations), answer
        assert min(answer.generations) >= newest, f"back to {answer.generations} after {newest}"
