"""A ranked request beside Hugging Face `generate(num_beams=30, prefix_allowed_tokens_fn=…)`, same beams returned.

fp32, full-vocabulary normalisation on both sides, one process, runs alternating.

    python -m benchmarks.bench_rank [--items 20000] [--prompts 64,256] [--repeats 5] [--device cuda]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine_models import allowed_of
from benchmarks.measure import alternate, middle, report, spread
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import RawRecord, Upsert
from neo_runtime.engine.api import EngineLimits, RankedList, RankWork
from neo_runtime.engine.ask import answer
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.request import Decoder
from neo_runtime.engine.span import Normalization
from neo_runtime.model.checkpoint import NeoModel
from neo_runtime.model.fresh import DecoderShape, fresh_decoder, fresh_tokenizer
from neo_runtime.prompt.message import Conversation, Turn
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.types import ItemKey, Position

BEAMS, CODES, LEVELS, DIMENSION = 30, 256, 4, 16


def make(folder: Path, items: int) -> tuple[NeoModel, Catalog]:
    vectors = np.random.default_rng(0).normal(size=(items, DIMENSION)).astype(np.float32)
    codebook = fit_codebook("item", "random", vectors[:20_000], (CODES,) * LEVELS)
    catalog = Catalog.create(folder / "catalog", {"item": codebook})
    for start in range(0, items, 5_000):
        catalog.apply([event(number, vectors[number]) for number in range(start, min(start + 5_000, items))])
    tokenizer = fresh_tokenizer(["a b c d e f g h"], 300)
    shape = DecoderShape(width=256, layers=4, heads=8, key_value_heads=4, feed_forward=768, context_tokens=1_024)
    lm = fresh_decoder(shape, len(tokenizer), end_token=tokenizer.eos_token_id).eval()
    return NeoModel.extend("random", lm, tokenizer, {"item": codebook}), catalog


def event(number: int, vector: np.ndarray) -> Upsert:  # type: ignore[type-arg]
    source = RawRecord(Position("bench", 0, number), None, None)
    return Upsert(ItemKey("item", str(number)), 1, f"Item {number}", "", {}, 0.0, vector, "random", source)


def measure(
    prompt_tokens: int, engine: LocalEngine, model: NeoModel, allowed: dict[tuple[int, ...], list[int]], repeats: int
) -> list[object]:
    prompt = Conversation((Turn("user", ("a " * ((prompt_tokens - 4) // 2),)),))
    ids = engine._decoder.renderer.render(prompt, {})
    opened = torch.tensor([[*ids, model.vocabulary.span_open]], device=model.lm.device)

    def ours() -> RankedList:
        (ranked,) = answer(engine, RankWork(prompt, max_results=BEAMS))
        assert isinstance(ranked, RankedList), ranked
        return ranked

    def theirs() -> torch.Tensor:
        out: torch.Tensor = model.lm.generate(
            opened, num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=LEVELS, do_sample=False,
            length_penalty=0.0, prefix_allowed_tokens_fn=lambda _, row: allowed[tuple(row[opened.shape[1] :].tolist())],
        )  # fmt: skip
        return out

    first = model.vocabulary.level_tokens("item", 0).start
    found = [
        [t - first - CODES * level for level, t in enumerate(row)] for row in theirs()[:, opened.shape[1] :].tolist()
    ]
    same = [list(row.codes) for row in ours().ranked] == found
    seconds = alternate({"ours": ours, "generate": theirs}, repeats)
    ratio = middle(seconds["generate"]) / middle(seconds["ours"])
    return [
        len(ids) + 1,
        "yes" if same else "NO",
        spread(seconds["ours"]),
        spread(seconds["generate"]),
        f"{ratio:.1f}×",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--prompts", default="64,256")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, catalog = make(Path(folder), arguments.items)
        model.lm.to(arguments.device)
        limits = EngineLimits(1_024, 512, 256, 64)
        engine = LocalEngine(Decoder(model, catalog.reader, limits, Normalization.VOCABULARY))
        allowed = allowed_of(catalog, model)
        rows = [measure(int(n), engine, model, allowed, arguments.repeats) for n in arguments.prompts.split(",")]
        engine.stop()
        catalog.close()
    header = ["prompt tokens", "same 30 beams in order", "ours, ms", "generate, ms", "ratio"]
    note = (
        f"Random Qwen3, width 256, 4 layers, fp32, {torch.get_num_threads()} threads; {arguments.items:,} items, "
        f"{LEVELS} × {CODES} codes, {BEAMS} beams; median (min–max). Batch 1, no batching on either side."
    )
    where = torch.cuda.get_device_name(arguments.device) if arguments.device != "cpu" else ""
    report("rank-cuda" if where else "rank", header, rows, f"{note} {where}".strip())


if __name__ == "__main__":
    main()
