"""Our trie beside youtube/static-constraint-decoding (PyTorch, and JAX with `--jax`) in one process, on one thread.

Its checkout is given by path. Variants take turns; seconds are the process's own (`time.process_time`), so that what
else runs on the cores counts on neither side. `bench_commits` measures what has no peer.

    python -m benchmarks.bench_static --static CHECKOUT [--jax] [--sizes 100000,1000000,10000000] [--kinds u1024,z256]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import static_peer
from benchmarks.measure import Table, alternate, middle, report_tables
from benchmarks.static_peer import Static
from benchmarks.synthetic import BEAMS, KINDS, catalog, decode, random_logits, rows, segment
from neo_runtime.sid.space import SidSpace
from neo_runtime.trie import LiveTrie, Restriction, Row, Segment, TrieView, TypeView
from neo_runtime.trie.delta import Changes
from neo_runtime.trie.levels import Levels, compiled_arrays, numpy_arrays
from neo_runtime.trie.predicate import Condition, Equals, Predicate, Range
from neo_runtime.trie.step import warm_up
from neo_runtime.types import ItemKey

BATCHES = (1, 8, 32)
ONE_PERCENT = Predicate(must=(Condition("price", Equals(7)),))
OTHER_TYPE = SidSpace((256, 2_048, 512))
HUGE = 5_000_000  # items from which a build is not repeated as often
Rows = list[list[object]]
TITLES = {
    "Build, ms": [
        "catalog", "items", "STATIC, sorted", "numpy", "compiled", "STATIC with its sort", "numpy with sort",
        "compiled with sort", "packing codes",
    ],
    "Index and memory while building, MB": [
        "catalog", "items", "STATIC's index", "ours", "STATIC's peak above its start", "numpy", "compiled",
    ],
    "Whole constrained decode without the model, ms": [
        "catalog", "items", "rows", "ours", "STATIC, PyTorch", "ratio", "STATIC, JAX", "ratio",
        "ours with 10,000 added and 10,000 removed", "ours under a filter of 1 %", "same SIDs",
    ],
    "Change, ms": ["catalog", "items", "change", "ours", "STATIC's build takes"],
    "Filters, ms": ["catalog", "items", "what", "ours"],
    "Two sizes, ms": ["catalog", "rows", "smaller", "larger", "ratio"],
    "Types mixed in one batch, ms": ["catalog", "items", "rows", "first type", "second type", "half and half", "ratio"],
    "Catalogs smaller than the beam: SIDs that do not exist": ["items", "STATIC", "ours", "ours returned, per request"],
}  # fmt: skip


class Setting(NamedTuple):
    checkout: Path
    with_jax: bool
    repeats: int


class Ours(NamedTuple):
    """One catalog in our trie."""

    kind: str
    base: Segment
    view: TrieView

    @classmethod
    def of(cls, kind: str, size: int) -> Ours:
        price = np.random.default_rng(1).integers(0, 100, size)
        base = segment(kind, catalog(kind, size), {"price": price})
        return cls(kind, base, TrieView(1, {"item": TypeView.of_base(base)}))

    def name(self) -> list[object]:
        return [self.kind, f"{len(self.base):,}"]

    def fresh(self, n: int) -> list[int]:
        """Packed SIDs that are not there yet."""
        drawn = np.setdiff1d(catalog(self.kind, 2 * n, seed=2), self.base.keys)
        more = np.random.default_rng(3).integers(0, 1 << sum(self.base.space.bits), 2 * n, dtype=np.uint64)
        return np.union1d(drawn, np.setdiff1d(more, self.base.keys))[: 2 * n : 2].tolist()  # type: ignore[no-any-return]

    def victims(self, n: int) -> list[int]:
        return np.random.default_rng(4).choice(self.base.keys, n, replace=False).tolist()  # type: ignore[no-any-return]


def times(ours: list[float], theirs: list[float]) -> str:
    return f"{middle(theirs) / middle(ours):,.1f}×"


def ms(seconds: list[float]) -> str:
    return f"{middle(seconds) * 1e3:,.3f}"


def changes(added: Iterable[int] = (), removed: Iterable[int] = ()) -> Changes:
    return Changes.of({**{sid: (Row(f"new-{sid}"),) for sid in added}, **dict.fromkeys(removed, ())})


def trie_of(view: TrieView, *predicates: Predicate) -> LiveTrie:
    """Ready for its first step."""
    trie = view.restrict(Restriction(predicates=predicates)).tries["item"]
    assert trie.base.depths
    assert trie.delta.depths
    return trie


def builds(setting: Setting, ours: Ours) -> tuple[list[object], list[float]]:
    """The row, and the seconds that the peer's build takes from sorted rows."""
    space, keys = ours.base.space, ours.base.keys
    codes = space.unpack(keys).astype(np.int32)
    build, level_size = static_peer.build(setting.checkout), space.level_sizes[0]
    order = np.random.default_rng(0).permutation(len(keys))
    loose_keys, loose_codes = keys[order], codes[order]
    variants: dict[str, Callable[[], object]] = {
        "STATIC": lambda: build(codes, level_size, 2),
        "numpy": lambda: numpy_arrays(space, keys),
        "compiled": lambda: compiled_arrays(space, keys),
        "STATIC unsorted": lambda: build(static_peer.ascending(loose_codes), level_size, 2),
        "numpy unsorted": lambda: numpy_arrays(space, np.sort(loose_keys)),
        "compiled unsorted": lambda: compiled_arrays(space, np.sort(loose_keys)),
        "pack": lambda: space.pack(loose_codes),
    }
    took = alternate(variants, 2 if len(keys) > HUGE else 5, time.process_time)
    row = ours.name()
    for how in ("", " unsorted"):
        theirs = took[f"STATIC{how}"]
        row += [ms(theirs)]
        row += [f"{ms(mine)} ({times(mine, theirs)})" for mine in (took[f"numpy{how}"], took[f"compiled{how}"])]
    return [*row, ms(took["pack"])], took["STATIC"]


def memory(setting: Setting, ours: Ours, static: Static) -> list[object]:
    """Index size, and what each build needs above what its process held before, in processes of their own."""
    space = ours.base.space
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
    ):
        np.save(Path(folder) / "codes.npy", space.unpack(ours.base.keys).astype(np.int32))
        np.save(Path(folder) / "keys.npy", ours.base.keys)
        theirs, numpy, compiled = (
            pool.apply(peak_above_start, (name, Path(folder), setting.checkout, space))
            for name in ("STATIC", "numpy", "compiled")
        )
    size = ours.base.nbytes()
    return [
        *ours.name(), f"{static.nbytes() / 1e6:.1f}", f"{size / 1e6:.1f} ({static.nbytes() / size:.1f}×)",
        f"{theirs:,.0f}", f"{numpy:,.0f} ({theirs / numpy:.1f}×)", f"{compiled:,.0f} ({theirs / compiled:.1f}×)",
    ]  # fmt: skip


def peak_above_start(name: str, folder: Path, checkout: Path, space: SidSpace) -> float:
    """Megabytes, in a fresh process that holds its sorted input already."""
    warm_up()
    Levels.build(space, np.arange(9, dtype=np.uint64))
    compiled_arrays(space, np.arange(1 << 17, dtype=np.uint64))
    build = static_peer.build(checkout)
    codes, keys = (np.load(folder / "codes.npy"), None) if name == "STATIC" else (None, np.load(folder / "keys.npy"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    if codes is not None:
        held: object = build(codes, space.level_sizes[0], 2)
    else:
        held = (numpy_arrays if name == "numpy" else compiled_arrays)(space, keys)
    assert held
    return max(_status("VmHWM") - before, 0.1)


def _status(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def decodes(setting: Setting, ours: Ours, static: Static) -> Rows:
    """One row a batch size."""
    changed = ours.view.apply(2, {"item": changes(ours.fresh(10_000), ours.victims(10_000))})
    plain, grown = trie_of(ours.view), trie_of(changed)
    filtered = trie_of(ours.view, ONE_PERCENT)
    rng, found = np.random.default_rng(5), Rows()
    for batch in BATCHES:
        logits = random_logits(rng, ours.base.space, batch)
        variants: dict[str, Callable[[], object]] = {
            "ours": lambda logits=logits: decode(plain, logits),  # type: ignore[misc]
            "changed": lambda logits=logits: decode(grown, logits),  # type: ignore[misc]
            "filtered": lambda logits=logits: decode(filtered, logits),  # type: ignore[misc]
            "torch": static.torch(logits),
            **({"jax": static.jax(logits)} if setting.with_jax else {}),
        }
        agree = [np.mean(ours.base.space.pack(np.asarray(variants[name]()).reshape(-1, 4)) == decode(plain, logits)[0])  # type: ignore[attr-defined]
                 for name in variants.keys() & {"torch", "jax"}]  # fmt: skip
        took = alternate(variants, setting.repeats, time.process_time)
        jax = [ms(took["jax"]), times(took["ours"], took["jax"])] if setting.with_jax else ["–", "–"]
        found.append([
            *ours.name(), f"{batch}×{BEAMS}", ms(took["ours"]), ms(took["torch"]), times(took["ours"], took["torch"]),
            *jax, times(took["ours"], took["changed"]), times(took["ours"], took["filtered"]), f"{min(agree):.1%}",
        ])  # fmt: skip
    return found


def sizes_compared(setting: Setting, small: Ours, large: Ours) -> Rows:
    rng, found = np.random.default_rng(6), Rows()
    tries = trie_of(small.view), trie_of(large.view)
    for batch in BATCHES:
        logits = random_logits(rng, small.base.space, batch)
        took = alternate(
            {str(i): lambda trie=trie, logits=logits: decode(trie, logits) for i, trie in enumerate(tries)},  # type: ignore[misc]
            2 * setting.repeats, time.process_time,
        )  # fmt: skip
        found.append([small.kind, f"{batch}×{BEAMS}", ms(took["0"]), ms(took["1"]), times(took["0"], took["1"])])
    return found


def mixed_types(setting: Setting, ours: Ours) -> Rows:
    """Half of a batch each, against the mean of a batch of either type."""
    rng, found = np.random.default_rng(7), Rows()
    keys = np.unique(rng.integers(0, 1 << sum(OTHER_TYPE.bits), len(ours.base), dtype=np.uint64))
    other_base = TypeView.of_base(Segment.build(OTHER_TYPE, keys, None, rows(len(keys), {})))
    tries = trie_of(ours.view), trie_of(TrieView(1, {"item": other_base}))
    for batch in (2, 8, 32):
        whole = [random_logits(rng, trie.space, batch) for trie in tries]
        half = [random_logits(rng, trie.space, batch // 2) for trie in tries]
        took = alternate({
            "first": lambda whole=whole: decode(tries[0], whole[0]),  # type: ignore[misc]
            "second": lambda whole=whole: decode(tries[1], whole[1]),  # type: ignore[misc]
            "mixed": lambda half=half: [decode(*pair) for pair in zip(tries, half, strict=True)],  # type: ignore[misc]
        }, 2 * setting.repeats, time.process_time)  # fmt: skip
        mean = (middle(took["first"]) + middle(took["second"])) / 2
        found.append([
            *ours.name(), f"{batch}×{BEAMS}", ms(took["first"]), ms(took["second"]), ms(took["mixed"]),
            f"{middle(took['mixed']) / mean:.2f}×",
        ])  # fmt: skip
    return found


def changed(setting: Setting, ours: Ours, rebuild: list[float]) -> Rows:
    """What one change after the other and many at once cost, beside the peer's build from rows sorted already."""
    fresh, victims, found = ours.fresh(100_000), ours.victims(100_000), Rows()
    one_by_one = {
        "add 1": [changes([key]) for key in fresh[-1_000:]], "remove 1": [changes((), [key]) for key in victims[:1_000]]
    }  # fmt: skip
    for size in (0, 1_000, 10_000):
        grown = TypeView.of_base(ours.base).apply(changes(fresh[:size]))
        rounds = 10 * setting.repeats
        took = alternate({what: follower(grown, some) for what, some in one_by_one.items()}, rounds, time.process_time)
        for what, seconds in took.items():
            found.append([*ours.name(), f"{what}, delta from {size:,} on", ms(seconds), times(seconds, rebuild)])
    some = changes(fresh[:50_000], victims[:50_000])
    many = {
        "50,000 added and 50,000 removed at once": (TypeView.of_base(ours.base), some),
        "100,000 added at once": (TypeView.of_base(ours.base), changes(fresh)),
        "100,000 removed at once": (TypeView.of_base(ours.base), changes((), victims)),
        "100,000 added, one filter followed": (TypeView.of_base(ours.base, [ONE_PERCENT]), changes(fresh)),
    }
    runs = {what: lambda view=view, all_=all_: view.apply(all_) for what, (view, all_) in many.items()}  # type: ignore[misc]
    for what, seconds in alternate(runs, setting.repeats, time.process_time).items():
        found.append([*ours.name(), what, ms(seconds), times(seconds, rebuild)])
    return found


def follower(view: TypeView, some: Iterable[Changes]) -> Callable[[], None]:
    """Each call is the next change, on the view that the one before it made."""
    newest, following = view, iter(some)

    def apply() -> None:
        nonlocal newest
        newest = newest.apply(next(following))

    return apply


def filters(setting: Setting, ours: Ours) -> Rows:
    """What a request's filters cost before its first step."""
    cheap = Predicate(must=(Condition("price", Range(less=50)),))
    ours.base.filters.words(ONE_PERCENT)
    ours.base.filters.words(cheap)
    columns = ours.base.rows.columns
    denied = {ItemKey("item", ours.base.row_id(row)): int(ours.base.keys[row]) for row in range(0, 50_000, 5)}
    took = alternate({
        "AND of two filters that were evaluated before": lambda: trie_of(ours.view, ONE_PERCENT, cheap),
        "evaluating a new predicate": lambda: columns.select(ONE_PERCENT),
        "denying 10,000 items": lambda: ours.view.restrict(Restriction(deny=denied)),
    }, 2 * setting.repeats, time.process_time)  # fmt: skip
    return [[*ours.name(), what, ms(seconds)] for what, seconds in took.items()]


def small_catalogs(setting: Setting) -> Rows:
    """SIDs that do not exist, of catalogs smaller than the beam."""
    found, space = Rows(), SidSpace((256,) * 4)
    for size in (5, 12, 25, 60):
        keys = np.unique(np.random.default_rng(size).integers(0, 1 << 32, size, dtype=np.uint64))
        base = Segment.build(space, keys, None, rows(size, {}))
        logits = random_logits(np.random.default_rng(9), space, 4)
        static = Static(setting.checkout, space.unpack(keys).astype(np.int32), 256)
        theirs = space.pack(np.asarray(static.torch(logits)()).reshape(-1, 4))
        mine, counts = decode(trie_of(TrieView(1, {"item": TypeView.of_base(base)})), logits)
        bad = [int((~np.isin(sids, keys)).sum()) for sids in (theirs, mine)]
        found.append([size, f"{bad[0]} of {len(theirs)}", f"{bad[1]} of {len(mine)}", counts.tolist()])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", type=Path, required=True, help="checkout of static-constraint-decoding")
    parser.add_argument("--jax", action="store_true", help="its JAX path too")
    parser.add_argument("--sizes", default="100000,1000000,10000000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting(arguments.static, arguments.jax, arguments.repeats)
    tables: dict[str, Rows] = {name: Rows() for name in TITLES}
    for kind in arguments.kinds.split(","):
        by_size = []
        for size in map(int, arguments.sizes.split(",")):
            ours = Ours.of(kind, size)
            by_size.append(ours)
            static = Static(setting.checkout, ours.base.space.unpack(ours.base.keys).astype(np.int32), int(kind[1:]))
            row, rebuild = builds(setting, ours)
            tables["Build, ms"].append(row)
            tables["Index and memory while building, MB"].append(memory(setting, ours, static))
            tables["Whole constrained decode without the model, ms"] += decodes(setting, ours, static)
            tables["Change, ms"] += changed(setting, ours, rebuild)
            tables["Filters, ms"] += filters(setting, ours)
        if len(by_size) > 1:
            tables["Two sizes, ms"] += sizes_compared(setting, *by_size[-2:])
        tables["Types mixed in one batch, ms"] += mixed_types(setting, by_size[-1])
    tables["Catalogs smaller than the beam: SIDs that do not exist"] = small_catalogs(setting)
    report_tables("static", {title: Table("", TITLES[title], found) for title, found in tables.items() if found})


if __name__ == "__main__":
    main()
