"""The engine beside Hugging Face, in one process, taking turns: ranked lists cold and warm, text streams, both mixed.

Ranked: 30 beams over 4 levels, prompts of `--prompt` tokens that end in the opening marker, `generate(num_beams=30,
prefix_allowed_tokens_fn=…)` beside it. Warm: three quarters of each prompt are in the prefix cache. The limit is what
the model's own weight matrices reach alone for the tokens that must be fed: at the best of several numbers of rows, and
at the numbers of rows that prompt and beams have.
Text: greedy, beside `generate` with a static and a dynamic cache, and beside transformers' continuous batching, whose
manager runs already and streams. Mixed: see `engine_mixed`. Profile: where the engine's own time goes.

    python -m benchmarks.bench_engine [--kind tiny|0.3b|0.6b] [--dtype float32] [--batches 1,8] [--only rank]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.continuous_peer import Continuous
from benchmarks.engine_mixed import Load
from benchmarks.engine_models import (
    BEAMS,
    CONTEXT,
    LEVELS,
    SHAPES,
    allowed_of,
    backbone_flops,
    catalog_of,
    gemm_rate,
    model_of,
    prompt_of,
)
from benchmarks.engine_profile import profiled
from benchmarks.measure import Table, alternate, middle, report_tables, spread
from neo_runtime import heap
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.engine.api import Decoding, EngineLimits, GenerateWork, OutputFormat, RankWork
from neo_runtime.engine.backbone import PackedBackbone
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.prefix_cache import PrefixCache
from neo_runtime.engine.request import Decoder
from neo_runtime.model.checkpoint import NeoModel

Rows = list[list[object]]
ROWS_TRIED = (30, 240, 512, 1_024)
UTILISATION, MIXED_S = 0.7, 20.0


class Bench:
    """One model over one catalog."""

    def __init__(self, model: NeoModel, catalog: Catalog, prompt: int) -> None:
        limits = EngineLimits(CONTEXT, BEAMS, 512, 16)
        self.model, self.prompt, self.rng = model, prompt, np.random.default_rng(1)
        self.decoder = Decoder(model, catalog.reader, limits, max_running=40, cache_bytes=0)
        self.decoder.banned = np.array(sorted({*self.decoder.banned, *self.decoder.end_tokens}), np.int64)
        self.engine = LocalEngine(self.decoder, has_thread=False)  # as in its own process
        self.engine.pace.learn(self.decoder.backbone, CONTEXT)
        self.allowed = allowed_of(catalog, model)

    def ask(self, works: list[RankWork] | list[GenerateWork]) -> None:
        for work in works:
            self.engine.submit(work, lambda event: None)
        self.run_until(lambda: not (self.engine.running or self.engine.queued))

    def run_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.engine.turn()

    def cached(self, max_bytes: int) -> None:
        """Prefixes are remembered, or none."""
        backbone = self.decoder.backbone
        assert isinstance(backbone, PackedBackbone)
        backbone.cache = PrefixCache(max_bytes)

    def generate(self, prompts: list[list[int]], **options: object) -> torch.Tensor:
        out: torch.Tensor = self.model.lm.generate(torch.tensor(prompts), do_sample=False, **options)
        return out

    def ids(self, work: RankWork | GenerateWork, *more: int) -> list[int]:
        return [*self.decoder.renderer.render(work.prompt, {}), *more]  # type: ignore[arg-type]

    def ranked(self, batch: int, repeats: int, peer_repeats: int, shared: float) -> list[object]:
        """A row: ours, theirs, and how far from the limit. `shared`: part of each prompt that is cached."""
        beginning = "x" * int(shared * self.prompt)
        self.cached(8 << 30 if shared else 0)
        if shared:
            self.ask([RankWork(prompt_of(self.prompt, self.rng, beginning), max_results=BEAMS)])

        def works() -> list[RankWork]:
            prompts = [prompt_of(self.prompt, self.rng, beginning) for _ in range(batch)]
            return [RankWork(prompt, max_results=BEAMS) for prompt in prompts]

        def theirs() -> object:
            span = self.model.vocabulary.span_open
            return self.generate(
                [self.ids(work, span) for work in works()], num_beams=BEAMS, num_return_sequences=BEAMS,
                max_new_tokens=LEVELS, length_penalty=0.0,
                prefix_allowed_tokens_fn=lambda _, row: self.allowed[tuple(row[self.prompt :].tolist())],
            )  # fmt: skip

        ours = alternate({"ours": lambda: self.ask(works())}, repeats)["ours"]
        prompts, beams = batch * (self.prompt - len(beginning)), batch * BEAMS
        flops, best = backbone_flops(self.model), max(gemm_rate(self.model, rows) for rows in ROWS_TRIED)
        share = (prompts + (LEVELS - 1) * beams) * flops / best / middle(ours)
        at_rates = prompts / gemm_rate(self.model, min(prompts, 512)) + (LEVELS - 1) * beams / gemm_rate(
            self.model, beams
        )
        limits = [f"{share:.0%}", f"{at_rates * flops / middle(ours):.0%}"]
        row: list[object] = [batch, f"{shared:.0%}", spread([s / batch for s in ours])]
        if not peer_repeats:
            return [*row, "not run", "", *limits]
        peer = alternate({"generate": theirs}, peer_repeats)["generate"]
        ratio = middle(peer) / middle(ours)
        return [*row, spread([s / batch for s in peer]), f"{ratio:.1f}×", *limits]

    def text(self, batch: int, tokens: int, repeats: int, continuous: Continuous) -> list[object]:
        self.cached(0)
        works = [self.stream_work(tokens) for _ in range(batch)]
        prompts = [self.ids(work) for work in works]
        options = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        seconds = alternate({
            "ours": lambda: self.ask(works),
            "static": lambda: self.generate(prompts, cache_implementation="static", **options),
            "dynamic": lambda: self.generate(prompts, **options),
            "continuous": lambda: continuous.generate(prompts, tokens),
        }, repeats)  # fmt: skip
        per_step = {name: [s / tokens for s in times] for name, times in seconds.items()}
        ours, static, dynamic, other = (middle(times) for times in per_step.values())
        ratios = [f"{min(static, dynamic) / ours:.2f}×", f"{other / ours:.2f}×"]
        expected = [row[-tokens:] for row in self.generate(prompts, **options).tolist()]
        same = sum(a == b for a, b in zip(expected, continuous.generate(prompts, tokens), strict=True))
        return [batch, *map(spread, per_step.values()), *ratios, f"{same} of {batch}"]

    def profile(self, batches: list[int], tokens: int, repeats: int) -> Table:
        self.cached(0)

        def ranked(batch: int) -> None:
            self.ask([self._rank_work() for _ in range(batch)])

        loads = {f"ranked, batch {batch}": partial(ranked, batch) for batch in batches}
        texts = [self.stream_work(tokens) for _ in range(32)]
        return profiled({**loads, f"text, 32 streams, {tokens} tokens": lambda: self.ask(texts)}, repeats)

    def mixed(self, seconds: float) -> Table:
        """Streams and ranked requests, alone and together."""
        self.cached(0)
        alone = list[float]()
        for _ in range(20):
            began = time.perf_counter()
            self.ask([self._rank_work()])
            alone.append(time.perf_counter() - began)
        most = Load(self.engine, self._rank_work, self.stream_work).saturated(seconds / 2)
        self.run_until(lambda: not (self.engine.running or self.engine.queued))
        lists_s, streams_s = (UTILISATION * count / (seconds / 2) for count in (len(most.lists), most.streams))
        for run_s in (seconds / 2, seconds / 2, seconds):
            found = Load(self.engine, self._rank_work, self.stream_work).arriving(run_s, lists_s, streams_s, self.rng)
            if run_s < seconds:  # fewer at once share less, so that the same work takes longer
                lists_s, streams_s = (rate * UTILISATION / found.busy for rate in (lists_s, streams_s))
        said = (
            f"{lists_s:.1f} lists and {streams_s:.1f} streams a second arrive, at instants of their own; the engine is "
            f"busy {found.busy:.0%} of the time."
        )
        rows = [("ranked alone", alone), ("ranked, mixed", found.lists), ("gap between texts of a stream", found.gaps)]
        header = ["", "count", "p50, ms", "p99, ms", "max, ms", "p99 / p50"]
        return Table(said, header, [[name, len(times), *percentiles(times)] for name, times in rows])

    def _rank_work(self) -> RankWork:
        return RankWork(prompt_of(self.prompt, self.rng), max_results=BEAMS)

    def stream_work(self, tokens: int = 128) -> GenerateWork:
        decoding = Decoding(max_output_tokens=tokens)
        return GenerateWork(prompt_of(64, self.rng), decoding=decoding, format=OutputFormat.TEXT_ONLY)


def percentiles(seconds: list[float]) -> list[str]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return [f"{1e3 * value:.1f}" for value in (p50, p99, max(seconds))] + [f"{p99 / p50:.1f}×"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="tiny", choices=list(SHAPES))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-repeats", type=int, default=1)
    parser.add_argument("--peer-up-to", type=int, default=8, help="largest batch that generate is asked for too")
    parser.add_argument("--only", default="rank,text,mixed,profile")
    arguments = parser.parse_args()
    batches = list(map(int, arguments.batches.split(",")))
    dtype, tokens = getattr(torch, arguments.dtype), 64 if arguments.kind == "tiny" else 16

    def peer_repeats(batch: int) -> int:
        return int(arguments.peer_repeats) if batch <= arguments.peer_up_to else 0

    heap.keep()  # as a worker does
    with tempfile.TemporaryDirectory() as folder:
        catalog, codebook = catalog_of(Path(folder) / "c", arguments.items)
        bench = Bench(model_of(arguments.kind, dtype, codebook), catalog, arguments.prompt)
        tables = {}
        if "rank" in arguments.only:
            rows = [
                bench.ranked(batch, arguments.repeats, peer_repeats(batch) if not shared else 0, shared)
                for batch in batches for shared in (0.0, 0.75)
            ]  # fmt: skip
            header = [
                "batch",
                "cached",
                "ours, ms a request",
                "generate, ms a request",
                "ratio",
                "of the best GEMM rate",
                "of the rates at its rows",
            ]
            tables["Ranked lists"] = Table("", header, rows)
        if "text" in arguments.only:
            with closing(Continuous(arguments.kind, dtype, codebook)) as continuous:
                rows = [bench.text(streams, tokens, arguments.repeats, continuous) for streams in (1, 8, 32)]
            header = [
                "streams", "ours, ms a step", "static cache", "dynamic cache", "continuous batching",
                "best generate / ours", "continuous / ours", "continuous like generate",
            ]  # fmt: skip
            tables["Text"] = Table("", header, rows)
        if "mixed" in arguments.only:
            tables["Mixed"] = bench.mixed(MIXED_S)
        if "profile" in arguments.only:
            tables["Profile"] = bench.profile(batches, tokens, arguments.repeats)
        bench.engine.stop()
        catalog.close()
        report_tables(f"engine-{arguments.kind}-{arguments.dtype}", tables)


if __name__ == "__main__":
    main()
