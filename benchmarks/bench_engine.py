"""The engine beside Hugging Face, in one process, taking turns: ranked lists cold and warm, text streams, both mixed.

Ranked: 30 beams over 4 levels, prompts of `--prompt` tokens that end in the opening marker, `generate(num_beams=30,
prefix_allowed_tokens_fn=…)` beside it. Warm: three quarters of each prompt are in the prefix cache. The limit is what
the model's own weight matrices reach alone, at the best of several numbers of rows, for the tokens that must be fed.
Text: greedy, beside `generate` with a static and a dynamic cache, and beside transformers' continuous batching, whose
manager runs already and streams. Mixed: 8 streams, and ranked requests at random instants at a share of the rate that
the engine reaches beside them. Profile: where the engine's own time goes.

    python -m benchmarks.bench_engine [--kind tiny|0.6b] [--dtype float32] [--batches 1,8] [--repeats 3] [--only rank]
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
from benchmarks.engine_models import (
    BEAMS,
    CONTEXT,
    LEVELS,
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
from neo_runtime.engine.api import Decoding, EngineLimits, GenerateWork, OutputFormat, RankWork, Started, TextChunk
from neo_runtime.engine.backbone import PackedBackbone
from neo_runtime.engine.local import LocalEngine
from neo_runtime.engine.prefix_cache import PrefixCache
from neo_runtime.engine.request import Decoder
from neo_runtime.model.checkpoint import NeoModel

Rows = list[list[object]]
ROWS_TRIED = (30, 240, 512, 1_024)
UTILISATION, MIXED_S, STREAMS = 0.7, 15.0, 8


class Bench:
    """One model over one catalog."""

    def __init__(self, model: NeoModel, catalog: Catalog, prompt: int) -> None:
        limits = EngineLimits(CONTEXT, BEAMS, 512, 16)
        self.model, self.prompt, self.rng = model, prompt, np.random.default_rng(1)
        self.decoder = Decoder(model, catalog.reader, limits, max_running=40, cache_bytes=0)
        self.decoder.banned = np.array(sorted({*self.decoder.banned, *self.decoder.end_tokens}), np.int64)
        self.engine = LocalEngine(self.decoder, has_thread=False)  # as in its own process
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
        fed = self.prompt - len(beginning) + BEAMS * (LEVELS - 1)
        best = max(gemm_rate(self.model, rows) for rows in ROWS_TRIED)
        share = batch * fed * backbone_flops(self.model) / best / middle(ours)
        row: list[object] = [batch, f"{shared:.0%}", spread([s / batch for s in ours])]
        if not peer_repeats:
            return [*row, "not run", "", f"{share:.0%}"]
        peer = alternate({"generate": theirs}, peer_repeats)["generate"]
        ratio = middle(peer) / middle(ours)
        return [*row, spread([s / batch for s in peer]), f"{ratio:.1f}×", f"{share:.0%}"]

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

    def mixed(self, seconds: float) -> Rows:
        """Streams and ranked requests, alone and together."""
        self.cached(0)
        alone, gaps, lists = list[float](), list[float](), list[float]()
        for _ in range(20):
            began = time.perf_counter()
            self.ask([self._rank_work()])
            alone.append(time.perf_counter() - began)
        streams = [_Stream(self, gaps) for _ in range(STREAMS)]
        self._beside(streams, lists, 0.0, seconds / 4)  # nothing but streams and as many lists as there is room for
        rate = UTILISATION * len(lists) / (seconds / 4)
        gaps.clear()
        lists.clear()
        self._beside(streams, lists, rate, seconds)
        rows = [("ranked alone", alone), ("ranked, mixed", lists), ("gap between texts of a stream, mixed", gaps)]
        return [[name, len(found), *percentiles(found)] for name, found in rows]

    def _beside(self, streams: list[_Stream], lists: list[float], rate: float, seconds: float) -> None:
        """Lists at random instants beside the streams; `rate` 0: two more as soon as there is none."""
        until, due = time.perf_counter() + seconds, time.perf_counter()
        waiting = list[float]()

        def ended(_: object, began: float) -> None:
            lists.append(time.perf_counter() - began)
            waiting.pop()

        while (now := time.perf_counter()) < until:
            for stream in streams:
                stream.go_on()
            while due <= now and (rate or len(waiting) < 2):
                waiting.append(due)
                self.engine.submit(self._rank_work(), partial(ended, began=due if rate else now))
                due += self.rng.exponential(1 / rate) if rate else 0
            self.engine.turn()
        while waiting:
            self.engine.turn()

    def _rank_work(self) -> RankWork:
        return RankWork(prompt_of(self.prompt, self.rng), max_results=BEAMS)

    def stream_work(self, tokens: int = 128) -> GenerateWork:
        decoding = Decoding(max_output_tokens=tokens)
        return GenerateWork(prompt_of(64, self.rng), decoding=decoding, format=OutputFormat.TEXT_ONLY)


class _Stream:
    """One text stream after the other."""

    def __init__(self, bench: Bench, gaps: list[float]) -> None:
        self._bench, self._gaps, self._last, self._is_over = bench, gaps, 0.0, True

    def go_on(self) -> None:
        if self._is_over:
            self._is_over, self._last = False, 0.0
            self._bench.engine.submit(self._bench.stream_work(), self._take)

    def _take(self, event: object) -> None:
        now = time.perf_counter()
        if isinstance(event, TextChunk):
            if self._last:
                self._gaps.append(now - self._last)
            self._last = now
        self._is_over = not isinstance(event, Started | TextChunk)


def percentiles(seconds: list[float]) -> list[str]:
    return [f"{1e3 * value:.1f}" for value in (*np.percentile(seconds, [50, 99]), max(seconds))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="tiny", choices=["tiny", "0.6b"])
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
            header = ["batch", "cached", "ours, ms a request", "generate, ms a request", "ratio", "of the GEMM limit"]
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
            header = ["", "count", "p50, ms", "p99", "max"]
            tables["Mixed"] = Table(f"{STREAMS} streams, ranked at {UTILISATION:.0%}.", header, bench.mixed(MIXED_S))
        if "profile" in arguments.only:
            tables["Profile"] = bench.profile(batches, tokens, arguments.repeats)
        bench.engine.stop()
        catalog.close()
        report_tables(f"engine-{arguments.kind}-{arguments.dtype}", tables)


if __name__ == "__main__":
    main()
