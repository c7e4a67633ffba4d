"""Without any worker: fit codebooks on vectors of your own, keep a catalog, and walk its trie.

python examples/own_catalog.py
"""

import tempfile
from pathlib import Path

import numpy as np

from neo_runtime import Catalog
from neo_runtime.catalog.item import Delete, RawRecord, Upsert
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.trie import Restriction
from neo_runtime.types import ItemKey, Position

VECTORS = np.random.default_rng(0).normal(size=(1_000, 32)).astype(np.float32)


def published(number: int, time_us: int) -> Upsert:
    key, source = ItemKey("song", f"s{number}"), RawRecord(Position("example", 0, number), None, None)
    return Upsert(key, time_us, f"Song {number}", "", {}, 0.0, VECTORS[number], "my-embedder", source)


with tempfile.TemporaryDirectory() as folder:
    codebook = fit_codebook("song", "my-embedder", VECTORS, (16, 16, 16))
    catalog = Catalog.create(Path(folder) / "catalog", {"song": codebook})
    print(catalog.apply([published(number, time_us=1) for number in range(1_000)]))

    view = catalog.reader.view()
    trie = view.restrict(Restriction(["song"])).tries["song"]
    first = trie.children(0, trie.root())
    print(f"generation {view.generation}: {len(trie)} songs below {len(first.code)} first codes")

    gone = Delete(ItemKey("song", "s7"), 2, False, RawRecord(Position("example", 0, 1_000), None, None))
    catalog.apply([gone])
    print(f"now {len(catalog.reader.view().types['song'])} songs; the old view still has {len(view.types['song'])}")
    catalog.close()
