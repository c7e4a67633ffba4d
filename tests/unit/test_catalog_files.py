"""A catalog folder that is missing, damaged, foreign or in use is refused with one clear error, never a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neo_runtime.catalog import catalog as catalog_module
from neo_runtime.catalog.catalog import Catalog, check_fingerprints, open_reader
from neo_runtime.catalog.records import SCHEMA_VERSION, Description
from neo_runtime.errors import CatalogError, MismatchError, StartupError
from neo_runtime.trie import Segment
from neo_runtime.trie.segment import checksum
from tests.kit import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed catalog with base segments."""
    made = tiny.catalog(tmp_path / "c", 20)
    made.compact()
    made.apply([tiny.upsert("film/late", time=9)])
    made.close()
    return tmp_path / "c"


def test_a_missing_folder_says_what_makes_one(tmp_path: Path) -> None:
    for opening in (open_reader, Catalog.open):
        with pytest.raises(CatalogError, match="neo catalog load"):
            opening(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists(), "looking does not create"


@pytest.mark.parametrize("keep", [0, 100, 4_096, 9_000, 20_000])
def test_a_cut_off_data_file_is_refused_before_it_is_mapped(folder: Path, keep: int) -> None:
    data = folder / "data.mdb"
    data.write_bytes(data.read_bytes()[:keep])
    for opening in (open_reader, Catalog.open):
        with pytest.raises(CatalogError, match=r"restore|load"):
            opening(folder)


def test_a_foreign_file_is_refused(folder: Path) -> None:
    (folder / "data.mdb").write_bytes(b"not a database" * 1_000)
    with pytest.raises(CatalogError, match="not a whole LMDB file"):
        open_reader(folder)


def test_a_flipped_bit_in_a_segment_is_found_at_start(folder: Path) -> None:
    segment = next((folder / "segments").glob("film*"))
    content = bytearray(segment.read_bytes())
    content[-100] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CatalogError, match="damaged"):
        open_reader(folder)


@pytest.mark.parametrize("content", [b"", b"NEOSEG01", b"garbage" * 100])
def test_what_is_no_segment_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.seg"
    path.write_bytes(content)
    with pytest.raises(CatalogError):
        Segment.load(path)


def test_a_cut_off_segment_is_refused(folder: Path) -> None:
    path = next((folder / "segments").glob("film*"))
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(CatalogError, match="bytes instead of"):
        Segment.load(path)


def test_a_second_writer_is_refused_while_readers_are_welcome(folder: Path) -> None:
    first = Catalog.open(folder)
    code = "import pathlib, sys; from neo_runtime.catalog.catalog import *; {}(pathlib.Path(sys.argv[1]))"
    second = subprocess.run(
        [sys.executable, "-c", code.format("Catalog.open"), folder], capture_output=True, text=True, check=False
    )
    assert second.returncode != 0
    assert "another process is writing" in second.stderr
    subprocess.run([sys.executable, "-c", code.format("open_reader"), folder], check=True)
    first.close()


def test_another_schema_is_refused(folder: Path) -> None:
    made = Catalog.open(folder)
    with made.store.write() as txn:
        old = txn.description()
        txn.put_description(Description(SCHEMA_VERSION + 1, old.name, old.catalog_id, old.policy, old.codebooks))
    made.close()
    with pytest.raises(CatalogError, match=f"schema {SCHEMA_VERSION + 1}"):
        open_reader(folder)


def test_swapped_codebooks_are_refused(folder: Path) -> None:
    for codebook in tiny.codebooks({"film": (4, 4), "book": (6, 6), "artist": (4, 4, 4, 4)}).values():
        codebook.save(folder / "codebooks")
    with pytest.raises(MismatchError, match="made with"):
        open_reader(folder)


def test_a_lost_codebook_is_refused(folder: Path) -> None:
    (folder / "codebooks" / "film.safetensors").unlink()
    with pytest.raises(StartupError, match="film"):
        open_reader(folder)


def test_model_and_catalog_that_do_not_belong_together_are_named() -> None:
    check_fingerprints({"film": "a"}, {"film": "a"})
    with pytest.raises(MismatchError, match="film: the model has a, the catalog b"):
        check_fingerprints({"film": "a"}, {"film": "b"})
    with pytest.raises(MismatchError, match="book: the model has none, the catalog b"):
        check_fingerprints({"film": "a"}, {"film": "a", "book": "b"})


def test_a_catalog_is_not_made_twice(folder: Path) -> None:
    with pytest.raises(CatalogError, match="already holds"):
        Catalog.create(folder, tiny.codebooks())


def test_what_a_cut_off_compaction_left_is_removed(folder: Path) -> None:
    orphan = folder / "segments" / "film-999.seg"
    orphan.write_bytes(b"half")
    (folder / "segments" / "film-1000.tmp").write_bytes(b"half")
    made = Catalog.open(folder)
    assert sorted(path.suffix for path in (folder / "segments").iterdir()) == [".seg"] * 3
    assert not orphan.exists()
    assert made.reader.view().types["film"].items_on(0) is not None
    made.close()


def test_a_view_outlives_the_files_it_was_read_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "COMPACT_LEAVES", 1)
    made = Catalog.open(folder)
    view = made.reader.view()
    before = {name: sorted(t.compacted().keys.tolist()) for name, t in view.types.items()}
    for number in range(40):
        made.apply([tiny.delete(f"film/f{number % 20}", time=20 + number)])
    after = {name: sorted(t.compacted().keys.tolist()) for name, t in view.types.items()}
    assert after == before
    made.close()


def test_the_log_stays_short_where_changes_leave_the_delta_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "COMPACT_LOG_BYTES", 20_000)
    made = tiny.catalog(tmp_path / "c", 5)
    for time in range(2, 700):
        made.apply([tiny.upsert("film/f1", time=time, popularity=time / 1000)])
    with made.store.read() as txn:
        assert txn.base() is not None
        assert txn.entries("log") < 600
    assert made.reader.view().generation == 699
    made.close()


COMPACT = "import sys; from neo_runtime.catalog.catalog import *; Catalog.open(Path(sys.argv[1])).compact()"


def test_a_reader_that_opens_while_the_writer_replaces_the_base_moves_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(path: Path) -> str:
        monkeypatch.setattr(catalog_module, "checksum", checksum)
        subprocess.run([sys.executable, "-c", COMPACT, folder], check=True)
        return checksum(path)

    monkeypatch.setattr(catalog_module, "checksum", late)
    reader, _ = open_reader(folder)
    assert len(reader.view().types["film"]) == 21
    reader.store.close()
