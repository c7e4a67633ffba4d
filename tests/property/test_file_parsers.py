"""Files that a crash, a bad disk or a wrong copy left: one clear error, or the file as it was; never anything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from neo_runtime.catalog.catalog import Catalog, open_reader
from neo_runtime.errors import CatalogError, ModelError, NeoError, StartupError
from neo_runtime.model import checkpoint
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.learned import LEARNED_FILE, load_learned, save_learned
from neo_runtime.sid.codebook import Codebook
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import PackedRows, Row
from neo_runtime.trie.predicate import Condition, Predicate, Range
from neo_runtime.trie.segment import Segment
from tests.kit import tiny
from tests.kit.mutations import JSON_VALUES, damaged, rearranged

BOOKS = tiny.codebooks()
SPACE = SidSpace((8, 8, 8))
KEYS = np.arange(0, 200, 7, dtype=np.uint64)
HEADER_BYTES = 16
NO_SHRINKING = (Phase.explicit, Phase.generate)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _segment() -> Segment:
    rows = PackedRows.of([Row(f"item{key}", {"year": key}) for key in KEYS.tolist()])
    return Segment.build(SPACE, KEYS, None, rows, [Predicate(must=(Condition("year", Range(less=70)),))])


class Folder(NamedTuple):
    """A place to write damaged files to, and the whole ones."""

    path: Path
    segment: bytes
    codebook: bytes
    tensors: bytes
    model: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """The weights and the tokenizer of its model are read once: a fuzzed header costs no torch."""
    path = tmp_path_factory.mktemp("files")
    _segment().save(path / "whole.seg")
    BOOKS["film"].save(path)
    tiny.model().save(path / "model")
    read = [(path / name).read_bytes() for name in ("whole.seg", "film.json", "film.safetensors")]
    pretrained = checkpoint._load_pretrained(path / "model", checkpoint.torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_load_pretrained", lambda *_: pretrained)
        yield Folder(path, *read, path / "model")


def header_end(segment: bytes) -> int:
    return HEADER_BYTES + int.from_bytes(segment[8:HEADER_BYTES], "little")


def test_a_segment_that_is_not_whole_is_refused_wherever_it_ends(folder: Folder) -> None:
    path, end = folder.path / "cut.seg", header_end(folder.segment)
    for size in [*range(end), *range(end, len(folder.segment), 16)]:
        path.write_bytes(folder.segment[:size])
        with pytest.raises(CatalogError):
            Segment.load(path)


@given(st.data())
@QUICK
def test_damage_behind_a_segments_header_is_refused_or_keeps_its_shape(folder: Folder, data: st.DataObject) -> None:
    """What its arrays hold is for its checksum to say, at start."""
    path, start = folder.path / "body.seg", header_end(folder.segment)
    place = data.draw(st.integers(start, len(folder.segment) - 4))
    path.write_bytes(
        folder.segment[:place] + data.draw(st.binary(min_size=4, max_size=4)) + folder.segment[place + 4 :]
    )
    try:
        loaded = Segment.load(path)
    except CatalogError:
        return
    assert (loaded.space, len(loaded)) == (SPACE, len(KEYS))


BROKEN_HEADERS = {
    "no JSON that ends in a brace": (b'{"level_sizes"', b'{"level_sizes}'),
    "no UTF-8": (b'"level_sizes"', b'"level_\xff\xff\xff\xff\xff"'),
    "no size": (b'"bytes"', b'"bytez"'),
    "no arrays": (b'"arrays"', b'"arrayz"'),
    "impossible levels": (b"[8, 8, 8]", b"[0, 8, 8]"),
    "levels that are no numbers": (b"[8, 8, 8]", b'["", 8,8]'),
    "another dtype": (b'"<u8"', b'"<x8"'),
    "a count that is no whole number": (b'"count": 29, ', b'"count": 2.5,'),
    "more rows than bytes": (b'"<u8", "count": 29', b'"<u8","count":9999'),
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
def test_a_segment_with_a_broken_header_is_refused(folder: Folder, name: str) -> None:
    whole, broken = BROKEN_HEADERS[name]
    assert folder.segment.count(whole), "the damage hits something"
    assert len(whole) == len(broken), "everything else stays in its place"
    (folder.path / "header.seg").write_bytes(folder.segment.replace(whole, broken, 1))
    with pytest.raises(CatalogError):
        Segment.load(folder.path / "header.seg")


def test_a_segment_whose_header_says_a_length_over_63_bits_is_refused(folder: Folder) -> None:
    (folder.path / "header.seg").write_bytes(folder.segment[:15] + b"\x80" + folder.segment[16:])
    with pytest.raises(CatalogError):
        Segment.load(folder.path / "header.seg")


@given(st.data())
@settings(QUICK, phases=NO_SHRINKING)
def test_damage_to_a_segments_header_is_refused_or_harmless(folder: Folder, data: st.DataObject) -> None:
    path = folder.path / "damaged.seg"
    path.write_bytes(data.draw(damaged(folder.segment, last=header_end(folder.segment))))
    try:
        loaded = Segment.load(path)
    except CatalogError:
        return
    assert loaded.space.levels


@pytest.fixture
def compacted(tmp_path: Path) -> Path:
    """A closed catalog with base segments."""
    made = tiny.catalog(tmp_path / "c", 20)
    made.compact()
    made.close()
    return tmp_path / "c"


def test_a_writer_refuses_a_damaged_segment_instead_of_making_the_next_base_of_it(compacted: Path) -> None:
    segment = next((compacted / "segments").glob("film*"))
    content = bytearray(segment.read_bytes())
    content[-100] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CatalogError):
        Catalog.open(compacted).close()


@pytest.mark.parametrize("opening", [Catalog.open, open_reader])
def test_a_lost_segment_is_an_error_of_ours(compacted: Path, opening: Callable[[Path], object]) -> None:
    next((compacted / "segments").glob("film*")).unlink()
    with pytest.raises(CatalogError):
        opening(compacted)


def _load_codebook(folder: Folder, header: bytes, tensors: bytes) -> Codebook:
    path = folder.path / "damaged" / "film.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(header)
    path.with_suffix(".safetensors").write_bytes(tensors)
    return Codebook.load(path)


@given(st.data())
@QUICK
def test_a_damaged_codebook_is_refused_or_as_it_was(folder: Folder, data: st.DataObject) -> None:
    header, tensors = folder.codebook, folder.tensors
    if data.draw(st.booleans()):
        header = data.draw(damaged(header) | rearranged(header) | JSON_VALUES.map(json.dumps).map(str.encode))
    else:
        tensors = data.draw(damaged(tensors) | damaged(tensors, last=200) | st.binary(max_size=64))
    try:
        loaded = _load_codebook(folder, header, tensors)
    except StartupError as error:
        assert "film.json" in str(error)
        return
    whole = BOOKS["film"]
    assert (loaded.item_type, loaded.embedder, loaded.fingerprint) == ("film", whole.embedder, whole.fingerprint)
    vectors = np.eye(8, dtype=np.float32)
    np.testing.assert_array_equal(loaded.encode(vectors)[0], whole.encode(vectors)[0])


def _load_model(folder: Folder, header: bytes) -> NeoModel:
    whole = (folder.model / "neo.json").read_bytes()
    try:
        (folder.model / "neo.json").write_bytes(header)
        return NeoModel.load(folder.model)
    finally:
        (folder.model / "neo.json").write_bytes(whole)


@given(st.data())
@settings(QUICK, phases=NO_SHRINKING)
def test_a_damaged_model_header_is_refused_or_fits_the_model(folder: Folder, data: st.DataObject) -> None:
    whole = (folder.model / "neo.json").read_bytes()
    header = data.draw(damaged(whole) | rearranged(whole) | JSON_VALUES.map(json.dumps).map(str.encode))
    try:
        loaded = _load_model(folder, header)
    except NeoError:
        return
    assert loaded.vocabulary.size == len(loaded.tokenizer)
    assert loaded.fingerprints == {name: book.fingerprint for name, book in BOOKS.items()}


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        (b"{", b"[{"),
        (b'"format": 1', b'"format": 2'),
        (b'"film"', b'"song"'),
        (b'"item_types": [', b'"item_types": [[], '),
        (b'"item_types"', b'"types"'),
        (b'"codebook"', b'"fingerprint"'),
        (b'"text_size"', b'"size"'),
        (b'"text_size": ', b'"text_size": -'),
        (b'"text_size": ', b'"text_size": 1'),
        (b'"text_size": ', b'"text_size": null, "": '),
        (b'"text_size": ', b'"text_size": 1e999, "": '),
        (b'"note": ', b'"note": ' + b"[" * 100_000),
    ],
)
def test_a_wrong_model_header_is_refused(folder: Folder, field: bytes, instead: bytes) -> None:
    whole = (folder.model / "neo.json").read_bytes()
    assert field in whole
    with pytest.raises(ModelError):
        _load_model(folder, whole.replace(field, instead, 1))


LEARNED = {"film": np.arange(0, 200, 7, dtype=np.uint64), "book": np.array([9], np.uint64)}


@given(st.data())
@QUICK
def test_damage_to_what_a_model_learned_is_refused_or_leaves_sorted_tuples(folder: Folder, data: st.DataObject) -> None:
    spaces = {name: book.space for name, book in BOOKS.items()}
    save_learned(folder.path, LEARNED)
    file = folder.path / LEARNED_FILE
    file.write_bytes(data.draw(damaged(file.read_bytes()) | st.binary(max_size=64)))
    try:
        loaded = load_learned(folder.path, spaces)
    except ModelError as error:
        assert LEARNED_FILE in str(error)
        return
    for name, keys in loaded.items():
        tuples = [spaces[name].unpack_one(key) for key in keys.tolist()]
        assert tuples == sorted(set(tuples))
        assert [spaces[name].pack_one(codes) for codes in tuples] == keys.tolist()


def test_a_model_that_says_nothing_of_it_leaves_no_word_of_an_earlier_one(tmp_path: Path) -> None:
    save_learned(tmp_path, LEARNED)
    save_learned(tmp_path, {})
    assert load_learned(tmp_path, {}) == {}


@pytest.mark.parametrize(
    "learned",
    [
        {"song": LEARNED["film"]},
        {"film": LEARNED["film"][::-1].copy()},
        {"film": np.array([1, 1], np.uint64)},
        {"film": np.array([1 << 9], np.uint64)},
        {"book": np.array([7], np.uint64)},
        {"film": np.array([1], np.int64)},
        {"film": np.empty(0, np.uint64)},
    ],
    ids=["another type", "not sorted", "twice", "no tuple", "a code too high", "another dtype", "none"],
)
def test_what_no_model_learned_is_refused(tmp_path: Path, learned: dict[str, np.ndarray]) -> None:
    save_learned(tmp_path, learned)
    with pytest.raises(ModelError, match=LEARNED_FILE):
        load_learned(tmp_path, {name: book.space for name, book in BOOKS.items()})


@pytest.mark.parametrize("header", [b"", b"{}", b"\xff", b"[]", b"null", b"1", b'"x"', b"[" * 100_000])
def test_what_is_no_model_header_is_refused(folder: Folder, header: bytes) -> None:
    with pytest.raises(ModelError):
        _load_model(folder, header)
