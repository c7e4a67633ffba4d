"""From an event's content to its place in the code space: validate, embed what carries no embedding, quantize."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_runtime.catalog.item import (
    Availability,
    Delete,
    Event,
    ItemRecord,
    Upsert,
    validate_availability,
    validate_key,
    validate_upsert,
)
from neo_runtime.embed.base import Embedder, item_text, of_type
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
        self._codebooks, self.embedder = codebooks, embedder
        for codebook in codebooks.values():
            if embedder and embedder.name != codebook.embedder:
                raise MismatchError(
                    f"codebook of {codebook.item_type!r} was fitted with embedder {codebook.embedder!r}, "
                    f"not with {embedder.name!r}; start with the one it was fitted with"
                )

    def embedder_of(self, item_type: str) -> Embedder | None:
        """For texts of a type's items."""
        return None if self.embedder is None else of_type(self.embedder, item_type)

    def encode(
        self, events: Sequence[Event], read: Callable[[Collection[ItemKey]], Mapping[ItemKey, ItemRecord]]
    ) -> list[Encoded | EventError | None]:
        """One result per event: None for deletes, an EventError for what must not be applied. `read`: stored items."""
        times_seen = Counter(event.key for event in events if isinstance(event, Upsert | Delete))
        stored = read([key for key, times in times_seen.items() if times == 1])
        results: list[Encoded | EventError | None] = [None] * len(events)
        wanted: dict[str, list[int]] = {}
        for index, event in enumerate(events):
            try:
                if isinstance(event, Delete):
                    validate_key(event.key)
                elif isinstance(event, Availability):
                    validate_availability(event)
                    codebook_of(event.key, self._codebooks)
                elif isinstance(event, Upsert):
                    check_upsert(event, self._codebooks, has_embedder=self.embedder is not None)
                    results[index] = encoded = Encoded(_content_hash(event), None)
                    record = stored.get(event.key)
                    if record is None or record.deleted or record.content_hash != encoded.content_hash:
                        wanted.setdefault(event.key.type, []).append(index)
            except EventError as error:
                results[index] = error
        for item_type, indices in wanted.items():
            upserts = [event for index in indices if isinstance(event := events[index], Upsert)]
            for index, quantized in zip(indices, self._quantize(item_type, upserts), strict=True):
                before = results[index]
                assert isinstance(before, Encoded)
                results[index] = before._replace(quantized=quantized) if quantized else not_finite()
        return results

    def _quantize(self, item_type: str, upserts: list[Upsert]) -> list[Quantized | None]:
        """None for an embedding that holds infinities or no numbers."""
        codebook = self._codebooks[item_type]
        embeddings = self._embeddings(item_type, upserts)
        finite = np.asarray(np.isfinite(embeddings).all(axis=1))
        codes, errors = codebook.encode(embeddings)
        rows = zip(embeddings, codebook.space.pack(codes).tolist(), errors.tolist(), strict=True)
        return [Quantized(*row) if known else None for row, known in zip(rows, finite.tolist(), strict=True)]

    def _embeddings(self, item_type: str, upserts: list[Upsert]) -> Floats:
        """float32 [n, dimension]: given ones as they are, the others from the embedder in one call."""
        dimension = self._codebooks[item_type].dimension
        embeddings: NDArray[np.float32] = np.empty((len(upserts), dimension), np.float32)
        without = [row for row, event in enumerate(upserts) if event.embedding is None]
        for row, event in enumerate(upserts):
            if event.embedding is not None:
                embeddings[row] = event.embedding
        if without:
            embedder = self.embedder_of(item_type)
            assert embedder is not None
            embeddings[without] = embedder.embed([event_text(upserts[row]) for row in without])
        return embeddings


def check_upsert(event: Upsert, codebooks: Mapping[str, Codebook], *, has_embedder: bool) -> None:
    """EventError where a catalog with these codebooks does not take it."""
    validate_upsert(event)
    codebook = codebook_of(event.key, codebooks)
    if event.embedding is None:
        if not has_embedder:
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


def codebook_of(key: ItemKey, codebooks: Mapping[str, Codebook]) -> Codebook:
    """EventError where there is none."""
    codebook = codebooks.get(key.type)
    if codebook is None:
        known = ", ".join(sorted(codebooks))
        raise EventError(f"item type {key.type!r} is not one of {known}", reason="UNKNOWN_TYPE")
    return codebook


def not_finite() -> EventError:
    return EventError("embedding holds numbers that are not finite", reason="INVALID_VALUE")


def event_text(event: Upsert) -> str:
    """What is embedded of an item."""
    return item_text(event.title, event.description, event.attributes)


def _content_hash(event: Upsert) -> bytes:
    """Of what decides the embedding."""
    if event.embedding is not None:
        return hashlib.blake2b(np.ascontiguousarray(event.embedding, "<f4").data, digest_size=16).digest()
    return text_hash(event_text(event))


def text_hash(text: str) -> bytes:
    """Content hash of an item that is embedded from its text."""
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"text").digest()
