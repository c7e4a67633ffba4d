"""From an event's content to its place in the code space: validate, embed what carries no embedding, quantize."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.item import (
    Availability,
    Delete,
    Event,
    ItemRecord,
    Rejected,
    Upsert,
    validate_availability,
    validate_key,
    validate_upsert,
)
from neo_runtime.embed.base import Embedder, item_text
from neo_runtime.errors import EventError, MismatchError
from neo_runtime.sid.codebook import Codebook, Floats
from neo_runtime.types import ItemKey


class Quantized(NamedTuple):
    """An embedding, the packed tuple that the codebook gives it, and its squared quantization error."""

    embedding: Floats
    path_key: int
    error: float


class Encoded(NamedTuple):
    """The content of one upsert. `quantized` None: it is what the catalog already holds of the item."""

    content_hash: bytes
    quantized: Quantized | None


class ContentEncoder:
    """`embedder` None: events must carry their embeddings."""

    def __init__(self, codebooks: Mapping[str, Codebook], embedder: Embedder | None) -> None:
        self._codebooks, self._embedder = codebooks, embedder
        for codebook in codebooks.values():
            if embedder and embedder.name != codebook.embedder:
                raise MismatchError(
                    f"codebook of {codebook.item_type!r} was fitted with embedder {codebook.embedder!r}, "
                    f"not with {embedder.name!r}; start with the one it was fitted with"
                )

    def encode(
        self, events: Sequence[Event], stored: Callable[[ItemKey], ItemRecord | None]
    ) -> list[Encoded | EventError | None]:
        """One result per event: None for deletes, an EventError for what must not be applied."""
        times_seen = Counter(event.key for event in events if not isinstance(event, Rejected | Availability))
        results: list[Encoded | EventError | None] = [None] * len(events)
        wanted: dict[str, list[int]] = {}
        for index, event in enumerate(events):
            try:
                if isinstance(event, Delete):
                    validate_key(event.key)
                elif isinstance(event, Availability):
                    validate_availability(event)
                    self._codebook(event.key)
                elif isinstance(event, Upsert):
                    self._validate(event)
                    results[index] = encoded = Encoded(_content_hash(event), None)
                    record = stored(event.key) if times_seen[event.key] == 1 else None
                    if record is None or record.deleted or record.content_hash != encoded.content_hash:
                        wanted.setdefault(event.key.type, []).append(index)
            except EventError as error:
                results[index] = error
        for item_type, indices in wanted.items():
            upserts = [event for index in indices if isinstance(event := events[index], Upsert)]
            for index, event, quantized in zip(indices, upserts, self._quantize(item_type, upserts), strict=True):
                results[index] = Encoded(_content_hash(event), quantized)
        return results

    def _validate(self, event: Upsert) -> None:
        validate_upsert(event)
        codebook = self._codebook(event.key)
        if event.embedding is None:
            if self._embedder is None:
                raise EventError("no embedding, and this worker has no embedder", reason="EMBEDDING_MISSING")
            return
        if event.embedding.shape != (codebook.dimension,):
            raise EventError(
                f"embedding has {event.embedding.size} numbers, the codebook {codebook.dimension}",
                reason="EMBEDDING_MISMATCH",
            )
        if event.embedding_model and event.embedding_model != codebook.embedder:
            raise EventError(
                f"embedding is of {event.embedding_model!r}, the codebook of {codebook.embedder!r}",
                reason="EMBEDDING_MISMATCH",
            )
        if not np.isfinite(event.embedding).all():
            raise EventError("embedding holds numbers that are not finite", reason="INVALID_VALUE")

    def _codebook(self, key: ItemKey) -> Codebook:
        codebook = self._codebooks.get(key.type)
        if codebook is None:
            known = ", ".join(sorted(self._codebooks))
            raise EventError(f"item type {key.type!r} is not one of {known}", reason="UNKNOWN_TYPE")
        return codebook

    def _quantize(self, item_type: str, upserts: list[Upsert]) -> list[Quantized]:
        codebook = self._codebooks[item_type]
        embeddings = self._embeddings(upserts, codebook.dimension)
        codes, errors = codebook.encode(embeddings)
        paths = codebook.space.pack(codes).tolist()
        return [Quantized(*row) for row in zip(embeddings, paths, errors.tolist(), strict=True)]

    def _embeddings(self, upserts: list[Upsert], dimension: int) -> Floats:
        """float32 [n, dimension]: given ones as they are, the others from the embedder in one call."""
        embeddings: NDArray[np.float32] = np.empty((len(upserts), dimension), np.float32)
        without = [row for row, event in enumerate(upserts) if event.embedding is None]
        for row, event in enumerate(upserts):
            if event.embedding is not None:
                embeddings[row] = event.embedding
        if without:
            assert self._embedder is not None
            embeddings[without] = self._embedder.embed([event_text(upserts[row]) for row in without])
        return embeddings


def event_text(event: Upsert) -> str:
    """What is embedded of an item."""
    return item_text(event.title, event.description, event.attributes)


def _content_hash(event: Upsert) -> bytes:
    """Of what decides the embedding."""
    if event.embedding is not None:
        return hashlib.blake2b(event.embedding.astype("<f4").tobytes(), digest_size=16).digest()
    return hashlib.blake2b(event_text(event).encode(), digest_size=16, person=b"text").digest()
