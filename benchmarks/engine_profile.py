"""Where the engine's time goes, by torch's profiler: what each operation took itself, and what is left is Python."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.measure import Table, alternate, middle
from neo_runtime.engine import backbone, sampler, span
from neo_runtime.trie import LiveTrie, TrieView

GEMM, ATTENTION, COPIES, ELEMENTS = "products of the layers", "attention", "K/V writes, copies", "element by element"
HEAD, TRIE, REST = "head, choice of tokens", "trie", "Python and the rest"
GROUPS = (GEMM, ATTENTION, COPIES, ELEMENTS, HEAD, TRIE)
# Everything below these calls is theirs, their Python too.
CALLS = (
    (backbone.Backbone, "_answered", HEAD), (sampler.Sampler, "choose", HEAD), (span, "best", HEAD),
    (span, "step", TRIE), (LiveTrie, "only_children", TRIE), (LiveTrie, "leaf_items", TRIE),
    (TrieView, "restrict", TRIE),
)  # fmt: skip
BY_NAME = {
    **dict.fromkeys(("aten::addmm", "aten::mm", "aten::linear", "aten::matmul", "aten::t"), GEMM),
    **dict.fromkeys(("aten::copy_", "aten::index_copy_", "aten::cat", "aten::clone", "aten::index"), COPIES),
}


def profiled(loads: Mapping[str, Callable[[], None]], repeats: int) -> Table:
    """A column for each load."""
    seconds = alternate(loads, repeats)
    columns: list[list[object]] = [["ms", "ms under the profiler", *GROUPS, REST]]
    for name, run in loads.items():
        with marked(), profile(activities=[ProfilerActivity.CPU]) as found:
            began = time.perf_counter()
            for _ in range(repeats):
                run()
            wall = time.perf_counter() - began
        spent = Counter[str]()
        for event in found.events():
            spent[group_of(event)] += event.self_cpu_time_total / 1e6
        rest = wall - sum(spent.values())
        shares = [f"{part / wall:.1%}" for part in (*(spent[group] for group in GROUPS), rest)]
        columns.append([f"{middle(seconds[name]) * 1e3:.1f}", f"{wall / repeats * 1e3:.1f}", *shares])
    note = "Parts of the wall time under the profiler, which makes many small operations, and Python, look longer."
    return Table(note, ["", *loads], list(zip(*columns, strict=True)))


def group_of(event: Any) -> str:
    place = event
    while place is not None:
        if place.name in GROUPS:
            return str(place.name)
        if "scaled_dot_product" in place.name:
            return ATTENTION
        place = place.cpu_parent
    return BY_NAME.get(event.name, ELEMENTS)


@contextmanager
def marked() -> Iterator[None]:
    """The calls under the names of their groups, for the profiler."""
    with ExitStack() as stack:
        for owner, name, group in CALLS:
            plain = getattr(owner, name)
            setattr(owner, name, _named(plain, group))
            stack.callback(setattr, owner, name, plain)
        yield


def _named(plain: Callable[..., Any], group: str) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        with record_function(group):
            return plain(*arguments, **options)

    return call
