"""What `neo sids report` measures, of a live catalog or of items that are still in files.

A catalog does not keep embeddings: those of a sample of items are made again from their texts. Where events carried
them, or the embedder is not here, what is measured on embeddings is estimated from the codebooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.encode import ContentEncoder, Encoded, event_text, text_hash
from neo_runtime.catalog.fit import rows_by_type
from neo_runtime.catalog.item import Placement, Upsert
from neo_runtime.catalog.reader import CatalogReader
from neo_runtime.embed.base import Embedder, item_text, of_type
from neo_runtime.errors import EventError, MismatchError, StartupError
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.sid.fit import fit_codebook
from neo_runtime.sid.report import SAMPLE, Quantized, TypeReport, drift_of, embedded, measure, quantize, unseen_error
from neo_runtime.types import ItemKey

_CHUNK = 20_000  # records read in one transaction: an open one keeps LMDB from using pages again
_IN_MEMORY = 100_000  # vectors that are there already and are all looked at: exact, within 100 MB a level
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StoredItems:
    """The live items of one type, by id. `ids` holds those of each chunk, joined by NUL, from row `starts` on."""

    items: Quantized
    ids: tuple[str, ...]
    starts: Rows

    def keys(self, item_type: str, rows: Rows) -> list[ItemKey]:
        chunks = np.searchsorted(self.starts, rows, side="right") - 1
        places = (rows - self.starts[chunks]).tolist()
        split = {chunk: self.ids[chunk].split("\0") for chunk in np.unique(chunks).tolist()}
        return [ItemKey(item_type, split[chunk][at]) for chunk, at in zip(chunks.tolist(), places, strict=True)]


def report_catalog(
    reader: CatalogReader, codebooks: Mapping[str, Codebook], embedder: Embedder | None, *, setting: str = "catalog",
    sample: int = SAMPLE, seed: int = 0, fitted_at_us: int | None = None,
) -> list[TypeReport]:  # fmt: skip
    """One report per item type, while writes go on. MismatchError where the embedder is not the codebooks'."""
    reports = []
    for item_type, codebook in sorted(codebooks.items()):
        if embedder and embedder.name != codebook.embedder:
            raise MismatchError(
                f"codebook of {item_type!r} was fitted with embedder {codebook.embedder!r}, not with {embedder.name!r}"
            )
        stored = read_type(reader, item_type)
        source = embedded(partial(_embed_again, reader, codebook, embedder, stored)) if embedder else None
        drift = drift_of(codebook, stored.items, fitted_at_us)
        reports.append(measure(setting, codebook, stored.items, source, sample=sample, seed=seed, drift=drift))
    return reports


def read_type(reader: CatalogReader, item_type: str) -> StoredItems:
    """28 bytes an item and its id. Each chunk is of one committed state, the whole of as many as went by."""
    parts, ids = [_columns([])], []
    last, more = "", True
    while more:
        with reader.store.read() as txn:
            records = list(islice(txn.placements(item_type, after=last), _CHUNK))
        more = len(records) == _CHUNK
        last = records[-1][0] if records else ""
        live = [(item_id, record) for item_id, record in records if not record.deleted]
        ids.append("\0".join(item_id for item_id, _ in live))
        parts.append(_columns([record for _, record in live]))
    starts = np.cumsum([len(part[0]) for part in parts])[:-1]
    paths, sids = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
    errors, times = np.concatenate([part[2] for part in parts]), np.concatenate([part[3] for part in parts])
    return StoredItems(Quantized(paths, errors, times, sids), tuple(ids), starts)


def _columns(records: list[Placement]) -> tuple[NDArray[np.uint64], NDArray[np.uint64], Floats, Rows]:
    return (
        np.array([record.path_key for record in records], np.uint64),
        np.array([record.sid_key for record in records], np.uint64),
        np.array([record.quantization_error for record in records], np.float32),
        np.array([record.event_time_us for record in records], np.int64),
    )


def _embed_again(
    reader: CatalogReader, codebook: Codebook, embedder: Embedder, stored: StoredItems, rows: Rows
) -> Floats:
    """[n, dim]; no numbers for items that changed since they were read, or whose event carried the embedding."""
    vectors = np.full((len(rows), codebook.dimension), np.nan, np.float32)
    keys = stored.keys(codebook.item_type, rows)
    texts: dict[int, str] = {}
    for start in range(0, len(keys), _CHUNK):
        found = reader.items(keys[start : start + _CHUNK])
        for at, key in enumerate(keys[start : start + _CHUNK], start):
            record = found.get(key)
            if record is None or record.deleted or record.path_key != int(stored.items.paths[rows[at]]):
                continue
            text = item_text(record.title, record.description, record.attributes)
            if text_hash(text) == record.content_hash:
                texts[at] = text
    if texts:
        vectors[list(texts)] = of_type(embedder, codebook.item_type).embed(list(texts.values()))
    return vectors


def report_fitted(
    items: Sequence[Upsert], codebooks: Mapping[str, Codebook], embedder: Embedder | None, *, setting: str,
    seed: int = 0, fitted_at_us: int | None = None,
) -> list[TypeReport]:  # fmt: skip
    """Items as a catalog of these codebooks would take them. EventError at the first that it would refuse."""
    newest = list({item.key: item for item in items}.values())
    encoded = ContentEncoder(codebooks, embedder).encode(newest, lambda keys: {})
    reports = []
    for item_type, rows in rows_by_type(newest).items():
        vectors = np.stack([_embedding(newest[row], encoded[row]) for row in rows])
        codebook = codebooks[item_type]
        quantized = quantize(codebook, vectors, _times(newest, rows))
        drift = drift_of(codebook, quantized, fitted_at_us)
        source = embedded(vectors.__getitem__)
        reports.append(measure(setting, codebook, quantized, source, sample=_IN_MEMORY, seed=seed, drift=drift))
    return reports


def report_candidates(
    items: Sequence[Upsert], embedder: Embedder, settings: Sequence[Sequence[int]], *, seed: int = 0
) -> tuple[list[TypeReport], list[str]]:  # fmt: skip
    """Codebooks of each of `settings` fitted on the items' texts, as `neo sids fit` does; and what was left out, why.

    StartupError where nothing is left.
    """
    newest = list({item.key: item for item in items}.values())
    reports, left_out = [], []
    for item_type, rows in rows_by_type(newest).items():
        vectors = of_type(embedder, item_type).embed([event_text(newest[row]) for row in rows])
        times = _times(newest, rows)
        source = embedded(vectors.__getitem__)
        for sizes in settings:
            name = "×".join(map(str, sizes))
            try:
                codebook = fit_codebook(item_type, embedder.name, vectors, sizes, seed=seed)
            except ValueError as error:
                left_out.append(f"{name}: {error}")
                continue
            unseen = unseen_error(codebook, vectors, seed=seed)
            quantized = quantize(codebook, vectors, times)
            reports.append(measure(
                name, codebook, quantized, source, sample=_IN_MEMORY, seed=seed, unseen_relative_error=unseen
            ))  # fmt: skip
    if not reports:
        raise StartupError("nothing could be fitted: " + ("; ".join(left_out) or "the files hold no items"))
    return reports, left_out


def _times(items: Sequence[Upsert], rows: Sequence[int]) -> Rows:
    return np.array([items[row].event_time_us for row in rows], np.int64)


def _embedding(item: Upsert, encoded: Encoded | EventError | None) -> Floats:
    if isinstance(encoded, EventError):
        raise EventError(f"{item.key}: {encoded}", reason=encoded.reason)
    assert encoded is not None
    assert encoded.quantized is not None
    return encoded.quantized.embedding
