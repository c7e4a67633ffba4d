"""Follow Kafka: everything that a catalog worker does, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from tenacity import RetryError

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.loop import IngestLoop
from neo_runtime.ingest.outgoing import OutgoingEncoder
from neo_runtime.ingest.publisher import KafkaSink, Publisher
from neo_runtime.ingest.source import KafkaSource
from neo_runtime.ingest.topics import ensure_topics


def follow(
    catalog: Catalog, stop: threading.Event, *, bootstrap: str, items_topic: str, assignments_topic: str,
    partitions: int = 8, max_batch: int = 1_000, ready: Callable[[IngestLoop], None] = lambda loop: None,
) -> None:  # fmt: skip
    """Until `stop`. Waits for a broker that is not there yet; `ready` is called once it is.

    StartupError where a topic is missing and cannot be made, or does not fit the catalog's offsets.
    """
    outage = Outage(stop)

    def connect() -> IngestLoop:
        ensure_topics(bootstrap, items_topic, assignments_topic, partitions=partitions)
        with ExitStack() as undo:
            source = KafkaSource(bootstrap, items_topic, catalog.reader.offsets())
            undo.callback(source.close)
            sink = KafkaSink(bootstrap)
            fingerprints = {name: book.fingerprint for name, book in catalog.codebooks.items()}
            publisher = Publisher(catalog, sink, OutgoingEncoder(assignments_topic, fingerprints))
            undo.pop_all()
        return IngestLoop(catalog, source, publisher, max_batch=max_batch)

    try:
        loop = outage.retrying()(connect)
    except RetryError:
        return
    outage.over()
    ready(loop)
    loop.run(stop)
