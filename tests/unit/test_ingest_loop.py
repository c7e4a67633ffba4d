"""The loop between a log and a catalog: batches, offsets, stopping, and what goes out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.fit import fit_catalog
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.catalog.records import DeadLetter
from neo_runtime.embed import load_embedder
from neo_runtime.errors import StartupError
from neo_runtime.ingest.changelog import Changelog
from neo_runtime.ingest.event import encode
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.outgoing import MAX_MESSAGE_BYTES, KafkaRecord, OutgoingEncoder, Parcel
from neo_runtime.ingest.publisher import Publisher, Refusal
from neo_runtime.ingest.source import MemorySource, Offsets, lag
from neo_runtime.sid.codebook import load_codebooks
from neo_runtime.types import ItemKey, Position
from neo_runtime.v1.catalog_events_pb2 import SidAssigned
from tests.kit import tiny

BOOKS = tiny.codebooks()
ENCODER = OutgoingEncoder("assignments", Changelog(BOOKS, "0a1b2c3d"))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = Catalog.create(tmp_path / "c", BOOKS)
    yield made
    made.close()


class Ending(MemorySource):
    """Sets `stop` when there is nothing left, or after `polls` of them."""

    def __init__(self, log: list[RawRecord], catalog: Catalog, polls: int = 1_000) -> None:
        super().__init__(log, catalog.reader.offsets())
        self.stop, self.polls, self.closed = threading.Event(), polls, False

    def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
        records = super().poll(max_records, timeout_s)
        self.polls -= 1
        if not records or not self.polls:
            self.stop.set()
        return records

    def close(self) -> None:
        self.closed = True


def log_of(*items: str) -> list[RawRecord]:
    memory = MemorySource()
    for item in items:
        key, value, headers = encode(tiny.upsert(item))
        memory.append(key, value, headers)
    return memory.log


FILMS = [f"film/f{number}" for number in range(7)]


def test_a_log_is_applied_in_batches_and_counted(catalog: Catalog) -> None:
    memory = MemorySource(log_of(*FILMS, "film/f0"))
    memory.append(b"film/f1", None, partition=1)
    memory.append(b"film/nobody", None, partition=1)
    memory.append(b"film/f2", b"{")
    source = Ending(memory.log, catalog)
    loop = IngestLoop(catalog, source, max_batch=4)
    loop.run(source.stop)
    stats = loop.stats
    assert (stats.batches, stats.records, stats.generation) == (3, 11, 3)
    assert (stats.upserted, stats.deleted, stats.unchanged) == (7, 1, 1)
    assert (stats.unknown_deletes, stats.dead_letters, stats.stale, stats.replayed) == (1, 1, 0, 0)
    assert catalog.reader.offsets() == source.end_offsets() == {("items", 0): 9, ("items", 1): 2}
    assert (lag(source), source.closed) == (0, True)
    assert catalog.reader.state().outgoing == 0, "nobody publishes, so nothing waits"


def test_a_batch_is_cut_by_bytes_and_no_record_is_too_large_for_one(catalog: Catalog) -> None:
    log = log_of(*FILMS)
    size = len(log[0].value or b"")
    memory = MemorySource(log)
    memory.append(b"film/f1", b"x" * 10 * size)
    memory.append(b"film/f1", None)
    source = Ending(memory.log, catalog)
    loop = IngestLoop(catalog, source, max_batch_bytes=3 * size)
    loop.run(source.stop)
    assert (loop.stats.batches, loop.stats.records) == (5, 9), "3 + 3 + 1, the large one, the tombstone"
    assert (loop.stats.upserted, loop.stats.dead_letters, loop.stats.deleted) == (7, 1, 1)
    assert catalog.reader.offsets() == {("items", 0): 9}


def test_a_stop_finishes_the_batch_in_hand_and_a_restart_goes_on_behind_it(catalog: Catalog) -> None:
    log = log_of(*FILMS)
    first = Ending(log, catalog, polls=2)
    loop = IngestLoop(catalog, first, max_batch=2)
    loop.run(first.stop)
    assert loop.stats.records == 4
    assert catalog.reader.offsets() == {("items", 0): 4}
    again = Ending(log, catalog)
    loop = IngestLoop(catalog, again, max_batch=2)
    loop.run(again.stop)
    assert (loop.stats.records, loop.stats.upserted, loop.stats.replayed) == (3, 3, 0)
    assert len(catalog.reader.view().types["film"]) == len(FILMS)


def test_a_stop_before_the_start_reads_nothing_and_closes(catalog: Catalog) -> None:
    source = Ending(log_of(*FILMS), catalog)
    source.stop.set()
    IngestLoop(catalog, source).run(source.stop)
    assert (source.positions(), source.closed) == ({}, True)


def test_an_error_that_only_an_operator_can_help_with_closes_the_source(catalog: Catalog) -> None:
    class Lost(Ending):
        def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
            raise StartupError("events were lost")

    source = Lost([], catalog)
    with pytest.raises(StartupError, match="events were lost"):
        IngestLoop(catalog, source).run(source.stop)
    assert source.closed


class Answered:
    """A delivery that the broker has answered."""

    def __init__(self, refusal: Refusal | None, ends: Offsets) -> None:
        self._refusal, self._ends = refusal, ends

    def wait(self, timeout_s: float) -> bool:
        return True

    def refusal(self) -> Refusal | None:
        return self._refusal

    def ends(self) -> Offsets:
        return self._ends


class MemorySink:
    """A broker that takes everything up to a size, after it was away for some sends."""

    def __init__(self, *, away: int = 0, max_bytes: int = 1 << 20) -> None:
        self.records: list[KafkaRecord] = []
        self.closed = False
        self._away, self._max_bytes = away, max_bytes

    def send(self, parcels: list[Parcel]) -> Answered:
        if self._away:
            self._away -= 1
            return Answered(Refusal("away"), {})
        records = [ENCODER.unpack(parcel) for parcel in parcels]
        for parcel, record in zip(parcels, records, strict=True):
            size = len(record.key or b"") + len(record.value or b"") + sum(len(value) for _, value in record.headers)
            if size > self._max_bytes:
                return Answered(Refusal("too large", parcel.number), {})
        self.records += records
        ends = {(record.topic, 0): end for end, record in enumerate(self.records, start=1)}
        ends.pop("items.dlq", None)
        return Answered(None, ends)

    def is_busy(self) -> bool:
        return False

    def give_up(self) -> None:
        """Every transaction is answered at once."""

    def close(self) -> None:
        self.closed = True


def published(catalog: Catalog, log: list[RawRecord], sink: MemorySink, **limits: int) -> IngestLoop:
    """Runs until both the log and the outbox are empty."""

    class Both(Ending):
        def poll(self, max_records: int, timeout_s: float) -> list[RawRecord]:
            records = MemorySource.poll(self, max_records, timeout_s)
            if not records and not catalog.outbox(1):
                self.stop.set()
            return records

    source = Both(log, catalog)
    loop = IngestLoop(catalog, source, Publisher(catalog, sink), **limits)
    loop.run(source.stop)
    return loop


@pytest.mark.parametrize("away", [0, 2])
def test_assignments_and_dead_letters_go_out_in_order_and_are_acknowledged(catalog: Catalog, away: int) -> None:
    memory = MemorySource(log_of(*FILMS))
    memory.append(b"film/f0", None)
    memory.append(b"film/f1", b"{", [("trace", b"1")])
    sink = MemorySink(away=away)
    loop = published(catalog, memory.log, sink, max_batch=3)
    sent = sink.records[-9:]  # what was on its way behind a refused record goes again, so before these may be more
    assert [record.key for record in sent] == [*(item.encode() for item in FILMS), b"film/f0", b"film/f1"]
    assert [record.topic for record in sent] == ["assignments"] * 8 + ["items.dlq"]
    assert SidAssigned.FromString(sent[7].value or b"").deleted
    assert (sent[8].value, sent[8].headers[0]) == (b"{", ("trace", b"1"))
    assert catalog.reader.offsets()["assignments", 0] == len(sink.records) - 1
    assert (catalog.outbox(), loop.stats.published, sink.closed) == ([], 9, True)
    for number, record in enumerate(sent[1:7], start=1):
        said, stored = SidAssigned.FromString(record.value or b""), catalog.reader.item(ItemKey.parse(FILMS[number]))
        assert stored is not None
        assert tuple(said.sid.codes) == BOOKS["film"].space.unpack_one(stored.sid_key)


def test_a_full_outbox_holds_up_the_reading_and_nothing_is_lost(catalog: Catalog) -> None:
    sink = MemorySink(away=1)
    loop = published(catalog, log_of(*FILMS), sink, max_batch=1, max_outbox=1)
    assert [record.key for record in sink.records] == [item.encode() for item in FILMS]
    assert loop.stats.batches == len(FILMS)


def test_a_dead_letter_that_the_broker_finds_too_large_goes_without_its_value(catalog: Catalog) -> None:
    memory = MemorySource()
    memory.append(b"film/f1", b"{" * 5_000)
    memory.append(b"k" * 3_000, b"{" * 5_000)
    sink = MemorySink(max_bytes=2_000)
    published(catalog, memory.log, sink)
    first, second = sink.records
    assert (first.key, first.value) == (b"film/f1", None)
    assert dict(first.headers)["neo.errors.value.omitted"] == b"5000 bytes, too large for the broker"
    assert (second.key, second.value) == (None, b"")
    assert "neo.errors.record.omitted" in dict(second.headers)


def test_a_dead_letter_is_never_without_key_and_value_and_its_message_is_cut() -> None:
    letter = DeadLetter("items", 1, 2, None, None, [("x", None)], "MISSING_FIELD", "\udcff" + "ö" * 5_000, 3)
    record = ENCODER.encode(letter)
    headers = dict(record.headers)
    assert (record.key, record.value, headers["x"]) == (None, b"", b"")
    message = headers["__connect.errors.exception.message"]
    assert MAX_MESSAGE_BYTES - 2 <= len(message) <= MAX_MESSAGE_BYTES
    assert message.decode().startswith("\\udcffö")
    assert headers["neo.errors.time"] == b"1970-01-01T00:00:00.000003Z"


def untitled(item: str, text: str) -> Upsert:
    return Upsert(ItemKey.parse(item), 1, text, "", {}, 0.0, None, "", RawRecord(Position("t", 0, 0), None, None))


WORDS = ["war", "peace", "sea", "whale", "love", "death", "city", "moon"]
ITEMS = [untitled(f"{kind}/{n}", f"{WORDS[n % 8]} and {WORDS[n // 8]}") for kind in ("film", "book") for n in range(40)]


def test_fitted_codebooks_and_their_embedder_make_a_catalog_that_needs_no_embeddings(tmp_path: Path) -> None:
    books, reports = fit_catalog(ITEMS, (8, 8), "lexical", tmp_path / "fit")
    assert [(report.item_type, report.items) for report in reports] == [("book", 40), ("film", 40)]
    assert {report.item_type: report.codebook for report in reports} == {
        name: book.fingerprint for name, book in load_codebooks(tmp_path / "fit" / "codebooks").items()
    }  # fmt: skip
    embedder = load_embedder(f"lexical:{tmp_path / 'fit' / 'embedder'}")
    assert {book.embedder for book in books.values()} == {embedder.name}
    made = Catalog.create(tmp_path / "c", books, embedder=embedder)
    assert made.apply(ITEMS).upserted == 80
    made.close()


def test_a_report_counts_the_items_that_quantize_alike(tmp_path: Path) -> None:
    books, reports = fit_catalog(ITEMS, (2, 2), "lexical", tmp_path, seed=3)
    texts = [f"{item.title}." for item in ITEMS if item.key.type == "film"]
    codes, errors = books["film"].encode(load_embedder(f"lexical:{tmp_path / 'embedder'}").embed(texts))
    counts = [codes.tolist().count(row) for row in codes.tolist()]
    assert reports[1].colliding_items == sum(count > 1 for count in counts)
    np.testing.assert_allclose(reports[1].mean_squared_error, errors.mean(), rtol=1e-5)


def test_fitting_twice_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit_catalog(ITEMS, (4, 4), "lexical", tmp_path / name)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize(
    ("items", "sizes", "says"), [([], (4,), "no items"), (ITEMS, (41,), "40 items cannot fill 41")]
)
def test_too_few_items_are_named(tmp_path: Path, items: list[Upsert], sizes: tuple[int, ...], says: str) -> None:
    with pytest.raises(StartupError, match=says):
        fit_catalog(items, sizes, "lexical", tmp_path)
