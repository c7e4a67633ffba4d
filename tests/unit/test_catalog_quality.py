"""What `neo sids report` reads of a catalog: every live item, its SID, and embeddings where they can be made again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from neo_runtime.catalog import quality
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.encode import event_text
from neo_runtime.catalog.item import Upsert
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.errors import EventError, MismatchError, StartupError
from neo_runtime.sid.assign import CollisionPolicy
from neo_runtime.sid.fit import fit_codebook
from tests.kit import tiny

WORDS = ["war", "love", "space", "robots", "sea", "music", "crime", "winter", "garden", "city"]


def told(number: int, *, kind: str = "film", time: int = 1) -> Upsert:
    """An item that carries no embedding."""
    title = " ".join(WORDS[(number * step) % 10] for step in (1, 3, 7))
    event = tiny.upsert(f"{kind}/{kind[0]}{number}", time=time, title=f"{title} {number}")
    return Upsert(
        event.key, time, event.title, "", {"year": 1900 + number}, 0.5, None, "", event.source
    )  # fmt: skip


@pytest.fixture
def embedder() -> LexicalEmbedder:
    return LexicalEmbedder.fit([event_text(told(number)) for number in range(80)], 16)


@pytest.fixture
def catalog(tmp_path: Path, embedder: LexicalEmbedder) -> Catalog:
    """Films told in words."""
    data = embedder.embed([event_text(told(number)) for number in range(80)])
    made = Catalog.create(
        tmp_path / "c", {"film": fit_codebook("film", embedder.name, data, (16, 6))}, embedder=embedder
    )  # fmt: skip
    with closing(made):
        yield made


@pytest.mark.parametrize("chunk", [1, 7, 20_000])
def test_every_live_item_is_read_whatever_the_chunks(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(quality, "_CHUNK", chunk)
    catalog.apply([told(number, time=number) for number in range(30)])
    catalog.apply([tiny.delete(f"film/f{number}", time=99) for number in (0, 3, 4, 5, 6, 7, 8, 9, 10, 29)])
    stored = quality.read_type(catalog.reader, "film")
    rows = np.arange(len(stored.items.paths))[::-1]
    keys = stored.keys("film", rows)
    assert len(keys) == len(set(keys)) == 20 == catalog.reader.state().stats["film"].items
    for row, key in zip(rows.tolist(), keys, strict=True):
        record = catalog.reader.item(key)
        assert record is not None
        assert not record.deleted
        assert (record.path_key, record.sid_key) == (int(stored.items.paths[row]), int(stored.items.sids[row]))
        assert record.event_time_us == stored.items.times_us[row]
        assert record.quantization_error == pytest.approx(float(stored.items.errors[row]))


def test_cosines_are_those_of_the_texts_embedded_again(catalog: Catalog, embedder: LexicalEmbedder) -> None:
    items = [told(number) for number in range(25)]
    catalog.apply(items)
    (report,) = quality.report_catalog(catalog.reader, catalog.codebooks, embedder)
    unit = embedder.embed([event_text(item) for item in items]).astype(np.float64)
    off_diagonal = (unit @ unit.T)[~np.eye(25, dtype=bool)]
    assert (report.vectors, report.vector_items) == ("embeddings", 25)
    assert report.random_cosine == pytest.approx(off_diagonal.mean(), abs=1e-6)
    again = quality.report_fitted(items, catalog.codebooks, embedder, setting="catalog")[0]
    assert (again.levels, again.relative_error, again.moved_items) == (
        report.levels, pytest.approx(report.relative_error), report.moved_items,
    )  # fmt: skip


def test_items_whose_events_carried_embeddings_are_not_embedded_again(
    catalog: Catalog, embedder: LexicalEmbedder
) -> None:
    carried = tiny.upsert("film/carried")
    vector = np.ones(16, np.float32)
    catalog.apply([*map(told, range(10)), Upsert(
        carried.key, 1, "Carried", "", {}, 0.5, vector, embedder.name, carried.source
    )])  # fmt: skip
    (report,) = quality.report_catalog(catalog.reader, catalog.codebooks, embedder)
    assert (report.items, report.vector_items, report.vectors) == (11, 10, "embeddings")


def test_a_sample_bounds_what_is_embedded(catalog: Catalog, embedder: LexicalEmbedder) -> None:
    catalog.apply([told(number) for number in range(60)])
    (report,) = quality.report_catalog(catalog.reader, catalog.codebooks, embedder, sample=20)
    assert report.items == 60
    assert 0 < report.vector_items <= 20


def test_without_an_embedder_cosines_come_from_the_codebooks_and_another_one_is_refused(catalog: Catalog) -> None:
    catalog.apply([told(number) for number in range(10)])
    (report,) = quality.report_catalog(catalog.reader, catalog.codebooks, None)
    assert (report.vectors, report.vector_items) == ("codebooks", 10)
    with pytest.raises(MismatchError, match="was fitted with embedder"):
        quality.report_catalog(catalog.reader, catalog.codebooks, LexicalEmbedder.fit(["other words"], 16))


@pytest.mark.parametrize("policy", list(CollisionPolicy))
def test_moved_and_sharing_items_are_those_of_the_policy(tmp_path: Path, policy: CollisionPolicy) -> None:
    with closing(tiny.catalog(tmp_path / "c", 60, policy=policy, types={"book": (6, 6)})) as made:
        (report,) = quality.report_catalog(made.reader, made.codebooks, None)
        stats = made.reader.state().stats["book"]
    assert report.colliding_items > 0
    assert (report.items, report.sharing_items) == (stats.items, stats.colliding)
    assert bool(report.moved_items) == (policy is CollisionPolicy.NEAREST_FREE)


def test_types_without_items_are_reported_empty(tmp_path: Path) -> None:
    with closing(tiny.catalog(tmp_path / "c", 0)) as made:
        reports = quality.report_catalog(made.reader, made.codebooks, None)
    assert [(report.item_type, report.items) for report in reports] == [("artist", 0), ("book", 0), ("film", 0)]


def test_candidates_that_cannot_be_fitted_are_left_out_and_named(embedder: LexicalEmbedder) -> None:
    items = [*(told(number) for number in range(40)), *(told(number, kind="book") for number in range(9))]
    reports, left_out = quality.report_candidates(items, embedder, [(4, 4), (16, 16)])
    assert [(r.item_type, r.setting) for r in reports] == [("book", "4×4"), ("film", "4×4"), ("film", "16×16")]
    assert left_out == ["16×16: book: 9 items cannot fill 16 codes; choose level sizes of at most 9"]
    assert all(report.drift is None for report in reports), "codebooks that were just fitted on the items"
    with pytest.raises(StartupError, match="nothing could be fitted: 64: book: 9 items"):
        quality.report_candidates(items, embedder, [(64,)])


def test_items_that_a_catalog_would_refuse_are_named(embedder: LexicalEmbedder, catalog: Catalog) -> None:
    with pytest.raises(EventError, match="book/b1: item type 'book' is not one of film"):
        quality.report_fitted([told(1, kind="book")], catalog.codebooks, embedder, setting="x")
