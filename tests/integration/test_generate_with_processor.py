"""`generate` with our logits processor: what `prefix_allowed_tokens_fn` gives with a slow trie, and live items only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from neo_runtime import GroundedLogitsProcessor, NeoModel
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.errors import MismatchError, ModelError, NoEligibleItemError
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import Restriction
from neo_runtime.trie.predicate import Condition, Equals, Predicate
from neo_runtime.types import ItemKey
from tests.kit import tiny

BEAMS = 12
PROMPTS = ("Recommend a film.", "Find a book, and say why it is the one to read next.", "An artist?")


MODELS = pytest.mark.parametrize("make", [tiny.model, tiny.llama], ids=["qwen3", "llama"])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Items of three types of two, three and four levels; some came, moved or went since the base was built."""
    made = tiny.catalog(tmp_path_factory.mktemp("processor") / "c", 30)
    made.compact()
    colours = [tiny.upsert(item, time=2, colour="red" if n % 2 else "blue") for n, item in enumerate(tiny.items(12))]
    made.apply([*colours, tiny.delete("film/f20", time=2), tiny.delete("book/b21", time=2)])
    yield made
    made.close()


def live(catalog: Catalog) -> dict[str, dict[tuple[int, ...], ItemKey]]:
    """Every tuple with its item, read from the store."""
    found: dict[str, dict[tuple[int, ...], ItemKey]] = {}
    with catalog.store.read() as txn:
        for name, book in catalog.codebooks.items():
            found[name] = {book.space.unpack_one(sid): ItemKey(name, bearers[0][1]) for sid, bearers in txn.sids(name)}
    return found


def slow(vocabulary: Vocabulary, tuples: dict[str, Any]) -> Callable[[int, torch.Tensor], list[int]]:
    """A plain trie behind `prefix_allowed_tokens_fn`. Dead beams get token 0: an empty list would be refused."""
    spans = [tuple(vocabulary.span(name, codes)[1:]) for name, live in tuples.items() for codes in live]
    following: dict[tuple[int, ...], set[int]] = {}
    for span in spans:
        for depth, token in enumerate(span):
            following.setdefault(span[:depth], set()).add(token)

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        row = ids.tolist()
        if vocabulary.span_open not in row:
            return list(range(vocabulary.span_close))
        rest = tuple(row[len(row) - row[::-1].index(vocabulary.span_open) :])
        if vocabulary.span_close in rest:
            return list(range(vocabulary.span_close))
        return sorted(following.get(rest, {0}))

    return allowed


def prompts(model: NeoModel, texts: tuple[str, ...], *, opened: bool) -> dict[str, torch.Tensor]:
    """A batch, padded on the left."""
    model.tokenizer.padding_side = "left"
    marker = "[SID]" if opened else ""
    return dict(model.tokenizer([text + marker for text in texts], return_tensors="pt", padding=True))


def finite(out: Any) -> list[tuple[list[int], float]]:
    """Sequences and scores, without what beam search fills up with."""
    pairs = zip(out.sequences.tolist(), out.sequences_scores.tolist(), strict=True)
    return [(row, score) for row, score in pairs if score > -1e6]


@MODELS
@pytest.mark.parametrize("texts", [PROMPTS[:1], PROMPTS], ids=["one", "batch"])
def test_beams_equal_generate_with_a_reference_trie(catalog: Catalog, make: Any, texts: tuple[str, ...]) -> None:
    model = make()
    options = {
        **prompts(model, texts, opened=True), "num_beams": BEAMS, "num_return_sequences": BEAMS, "max_new_tokens": 9,
        "do_sample": False, "length_penalty": 0.0, "output_scores": True, "return_dict_in_generate": True,
    }  # fmt: skip
    view = catalog.reader.view()
    processor = GroundedLogitsProcessor(view.restrict(), model.vocabulary)
    assert processor.generation == view.generation
    ours = finite(model.lm.generate(logits_processor=[processor], **options))
    theirs = finite(model.lm.generate(prefix_allowed_tokens_fn=slow(model.vocabulary, live(catalog)), **options))
    assert [row for row, _ in ours] == [row for row, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-5)
    assert len(ours) == BEAMS * len(texts)
    assert all(len(processor.items(row)) >= 1 for row, _ in ours)


@MODELS
@pytest.mark.parametrize("sampling", [{"do_sample": False}, {"do_sample": True, "top_k": 0}], ids=["greedy", "sampled"])
def test_mixed_answers_equal_generate_with_a_reference_trie(
    catalog: Catalog, make: Any, sampling: dict[str, Any]
) -> None:
    model = make()
    options = {
        **prompts(model, PROMPTS, opened=False), **sampling, "max_new_tokens": 60,
        "sequence_bias": {(model.vocabulary.span_open,): 5.0},  # a random model would seldom open a span
    }  # fmt: skip
    processor = GroundedLogitsProcessor(catalog.reader.view().restrict(), model.vocabulary)
    torch.manual_seed(3)
    ours = model.lm.generate(logits_processor=[processor], **options)
    torch.manual_seed(3)
    theirs = model.lm.generate(prefix_allowed_tokens_fn=slow(model.vocabulary, live(catalog)), **options)
    assert ours.tolist() == theirs.tolist()
    if sampling["do_sample"]:
        spans = [span for row in ours.tolist() for span in processor.items(row)]
        assert len({key.type for (key,) in spans}) == 3, "of every type and depth"
        texts = [token for row in ours.tolist() for token in row if token < model.vocabulary.text_size]
        assert len(set(texts)) > 30, "and text between them"


def test_text_is_what_the_model_says_without_us(catalog: Catalog) -> None:
    """No marker: then the answer is that of `generate` with the code tokens alone forbidden."""
    model = tiny.model()
    vocabulary = model.vocabulary
    options = {**prompts(model, PROMPTS, opened=False), "do_sample": False, "max_new_tokens": 30}
    markers = [[vocabulary.span_open]]
    codes = [[token] for token in range(vocabulary.span_close, vocabulary.size)]
    processor = GroundedLogitsProcessor(catalog.reader.view().restrict(), vocabulary)
    ours = model.lm.generate(logits_processor=[processor], bad_words_ids=markers, **options)
    theirs = model.lm.generate(bad_words_ids=[*markers, *codes], **options)
    assert ours.tolist() == theirs.tolist()


def test_under_a_filter_and_a_deny_list_beams_are_all_that_is_permitted(catalog: Catalog) -> None:
    model, view = tiny.model(), catalog.reader.view()
    red = Predicate(must=(Condition("colour", Equals("red")),))
    denied = ItemKey("film", "f3")
    deny = dict(catalog.reader.pin([denied]).sids)
    restricted = view.restrict(Restriction(("film", "artist"), deny=deny, predicates=(red,)))
    processor = GroundedLogitsProcessor(restricted, model.vocabulary)
    out = model.lm.generate(
        **prompts(model, PROMPTS[:1], opened=True), logits_processor=[processor], num_beams=BEAMS, do_sample=False,
        num_return_sequences=BEAMS, max_new_tokens=5, eos_token_id=model.vocabulary.span_close, length_penalty=0.0,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    found = [key for row, _ in finite(out) for (key,) in processor.items(row)]
    expected = [ItemKey(name, f"{name[0]}{n}") for name in ("film", "artist") for n in range(12)]
    odd = {key for key in expected if tiny.items(12).index(str(key)) % 2} - {denied}
    assert set(found) == odd
    assert len(found) == len(odd) == 11


def test_a_prompt_may_end_inside_a_span_of_a_live_item_only(catalog: Catalog) -> None:
    model, view = tiny.model(), catalog.reader.view()
    tuples = live(catalog)["film"]
    some = next(iter(tuples))
    processor = GroundedLogitsProcessor(view.restrict(), model.vocabulary)
    begun = torch.tensor([model.vocabulary.span("film", some)[:-2]])
    (row,) = model.lm.generate(begun, logits_processor=[processor], max_new_tokens=2, do_sample=False).tolist()
    ((item,),) = processor.items(row)
    assert any(key == item and codes[:-1] == some[:-1] for codes, key in tuples.items())
    assert row[-1] == model.vocabulary.span_close
    books_only = GroundedLogitsProcessor(view.restrict(Restriction(("book",))), model.vocabulary)
    with pytest.raises(NoEligibleItemError, match="row 0"):
        model.lm.generate(begun, logits_processor=[books_only], max_new_tokens=2)


def test_what_cannot_work_is_refused(catalog: Catalog) -> None:
    model, view = tiny.model(), catalog.reader.view()
    nothing = view.restrict(Restriction(("film",), allow={}))
    with pytest.raises(NoEligibleItemError):
        GroundedLogitsProcessor(nothing, model.vocabulary)
    with pytest.raises(MismatchError, match="artist"):
        GroundedLogitsProcessor(
            view.restrict(), Vocabulary(300, {"film": SidSpace((8, 8, 8)), "book": SidSpace((6, 6))})
        )
    processor = GroundedLogitsProcessor(view.restrict(), model.vocabulary)
    with pytest.raises(ModelError, match="scores 300 tokens"):
        processor(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 300))


def test_a_view_is_pinned_for_the_whole_answer(tmp_path: Path) -> None:
    """Items that are deleted while an answer is generated stay in it; the next processor does not know them."""
    model, catalog = tiny.model(), tiny.catalog(tmp_path / "c")
    view = catalog.reader.view()
    processor = GroundedLogitsProcessor(view.restrict(Restriction(("book",))), model.vocabulary)
    options = {**prompts(model, PROMPTS[:1], opened=True), "do_sample": False, "max_new_tokens": 3}
    (row,) = model.lm.generate(logits_processor=[processor], **options).tolist()
    ((item,),) = processor.items(row)
    catalog.apply([tiny.delete(str(item), time=9)])
    assert model.lm.generate(logits_processor=[processor], **options).tolist() == [row]
    after = GroundedLogitsProcessor(catalog.reader.view().restrict(Restriction(("book",))), model.vocabulary)
    assert after.generation > processor.generation
    (other,) = model.lm.generate(logits_processor=[after], **options).tolist()
    assert after.items(row) == []
    assert after.items(other) not in ([], [(item,)])
    catalog.close()
