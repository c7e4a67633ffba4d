"""The embedding stage as a process."""

from __future__ import annotations

import signal
import threading

import structlog
from prometheus_client import start_http_server
from tenacity import RetryError

from neo_runtime import heap
from neo_runtime.config import Settings
from neo_runtime.errors import StartupError
from neo_runtime.ingest.broker import Outage
from neo_runtime.ingest.catalogs import embedder_of
from neo_runtime.ingest.embedding import EmbeddingStage
from neo_runtime.ingest.topics import ensure_twin

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; the batch in hand is finished. StartupError where topics or embedder do not allow it."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not settings.kafka_bootstrap:
        raise StartupError("the embedding stage stands between two topics of a Kafka; set --kafka")
    embedder = embedder_of(settings.model, settings.embedder)
    if embedder is None:
        raise StartupError("no embedder: give --model whose codebooks it fits, or --embedder")
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    source, target = settings.items_topic, settings.embedded_topic
    outage = Outage(stop)
    try:
        outage.retrying()(ensure_twin, settings.kafka_bootstrap, source, target, partitions=settings.partitions)
    except RetryError:
        return
    outage.over()
    _log.info("ready", source=source, target=target, embedder=embedder.name)
    heap.settle()
    EmbeddingStage(
        settings.kafka_bootstrap, source, target, embedder, max_batch=settings.max_embedding_batch,
        session_timeout_s=settings.session_seconds,
    ).run(stop)  # fmt: skip
    _log.info("stopped")
