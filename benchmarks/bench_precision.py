"""A pass through a random model in float32, bfloat16 and int8, beside the matrix products that it consists of; and what
keeping memory between passes saves.

    python -m benchmarks.bench_precision [--layers 8] [--repeats 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.measure import Table, alternate, middle, report_tables
from neo_runtime import heap
from neo_runtime.engine.backbone import Backbone, backbone_of
from neo_runtime.model.fresh import DecoderShape, fresh_decoder
from neo_runtime.model.quantize import quantize

ROWS = (1, 30, 256, 1_024)
WIDTH, FEED_FORWARD, MATRICES = 1_024, 3_072, 24
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16}


def decoder(layers: int) -> PreTrainedModel:
    shape = DecoderShape(WIDTH, layers, 16, 8, FEED_FORWARD, context_tokens=2_048)
    return fresh_decoder(shape, 2_048, end_token=0).eval()


def backbones(layers: int) -> tuple[dict[str, Backbone], int]:
    """The same model in each type, and the weights of its blocks."""
    lm = decoder(layers)
    weights = sum(layer.weight.numel() for layer in lm.base_model.modules() if isinstance(layer, torch.nn.Linear))
    made = {}
    for name, dtype in TYPES.items():
        model = copy.deepcopy(lm).to(dtype)
        if name == "int8":
            quantize(model)
        made[name] = backbone_of(model, contexts=1, columns=max(ROWS))
    return made, weights


def one_pass(backbone: Backbone, rows: int) -> None:
    context = backbone.context()
    backbone.run([context.extend([token % 2_000 for token in range(rows)])])
    context.close()


def products(name: str) -> Callable[[int], Callable[[], None]]:
    """For a number of rows, once through matrices that no cache holds together, nothing else."""
    if name == "int8":
        codes = [torch.ones(FEED_FORWARD, WIDTH, dtype=torch.int8) for _ in range(MATRICES)]
        return lambda rows: partial(_int8, torch.ones(rows, WIDTH, dtype=torch.int8), codes)
    weights = [torch.ones(FEED_FORWARD, WIDTH, dtype=TYPES[name]) for _ in range(MATRICES)]
    return lambda rows: partial(_linear, torch.ones(rows, WIDTH, dtype=TYPES[name]), weights)


def _linear(inputs: torch.Tensor, weights: list[torch.Tensor]) -> None:
    for weight in weights:
        linear(inputs, weight)


def _int8(inputs: torch.Tensor, weights: list[torch.Tensor]) -> None:
    for weight in weights:
        torch._int_mm(inputs, weight.t())


def speeds(layers: int, repeats: int) -> Table:
    models, size = backbones(layers)
    limits = {name: products(name) for name in TYPES}
    rows: list[list[object]] = []
    for count in ROWS:
        runs = {name: partial(one_pass, models[name], count) for name in TYPES}
        seconds = alternate(
            {**runs, **{f"limit {name}": limits[name](count) for name in TYPES}}, repeats, time.process_time
        )
        for name in TYPES:
            pass_s = middle(seconds[name])
            found = 2 * size * count / pass_s / 1e9
            limit = 2 * MATRICES * WIDTH * FEED_FORWARD * count / middle(seconds[f"limit {name}"]) / 1e9
            ratio = middle(seconds["float32"]) / pass_s
            rows.append(
                [count, name, f"{pass_s * 1e3:.1f}", f"{ratio:.1f}×", f"{found:.0f}", f"{limit:.0f}",
                 f"{found / limit:.0%}"]
            )  # fmt: skip
    note = f"{size / 1e6:.0f} million weights in {layers} blocks; the limit is of products 1,024 → 3,072 alone."
    header = ["rows", "type", "CPU ms a pass", "beside float32", "GFLOP/s", "limit, GFLOP/s", "share of the limit"]
    return Table(note, header, rows)


def faults(layers: int, repeats: int) -> Table:
    """Each run is a process of its own, with and without `heap.keep`."""
    found: dict[str, list[list[list[float]]]] = {"as it is": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder:
        decoder(layers).to(torch.bfloat16).save_pretrained(folder)
        command = [sys.executable, "-m", "benchmarks.bench_precision", "--model", folder, "--child"]
        for _ in range(repeats):
            for name, runs in found.items():
                done = subprocess.run([*command, name], capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout))
    rows: list[list[object]] = []
    for place, count in enumerate(ROWS):
        for name, runs in found.items():
            pages, system_s, cpu_s = (middle([run[place][figure] for run in runs]) for figure in range(3))
            rows.append([count, name, f"{pages:,.0f}", f"{system_s * 1e3:.1f}", f"{cpu_s * 1e3:.1f}"])
    header = ["rows", "memory", "page faults a pass", "CPU ms in the system", "CPU ms a pass"]
    note = f"bfloat16, loaded and run on a thread as a worker does, median of {repeats} processes each."
    return Table(note, header, rows)


def child(memory: str, folder: str) -> None:
    """Print page faults, system seconds and CPU seconds of a pass, for each number of rows."""
    if memory == "kept":
        heap.keep()
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    found: list[list[float]] = []

    def passes() -> None:
        backbone = backbone_of(lm, contexts=1, columns=max(ROWS))
        for rows in ROWS:
            for _ in range(2):  # the heap grows first
                one_pass(backbone, rows)
            runs = math.ceil(2_000 / (rows + 100))
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(runs):
                one_pass(backbone, rows)
            after = resource.getrusage(resource.RUSAGE_SELF)
            pages, system_s = after.ru_minflt - before.ru_minflt, after.ru_stime - before.ru_stime
            user_s = after.ru_utime - before.ru_utime
            found.append([pages / runs, system_s / runs, (system_s + user_s) / runs])

    thread = threading.Thread(target=passes)
    thread.start()
    thread.join()
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=["as it is", "kept"], help="for the benchmark itself")
    parser.add_argument("--model", help="for the benchmark itself")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        child(arguments.child, arguments.model)
        return
    memory = faults(arguments.layers, arguments.repeats)
    heap.keep()
    title = f"A pass, {WIDTH} wide, {arguments.threads} thread(s), CPU time"
    tables = {title: speeds(arguments.layers, arguments.repeats), "Memory kept between passes": memory}
    report_tables("precision", tables)


if __name__ == "__main__":
    main()
